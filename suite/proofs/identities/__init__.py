"""The identities. A file here adds its claims by existing; they are proven in the order of the file names."""
