"""The commands of the command line, one file a group. Each imports what it needs when it is called."""
