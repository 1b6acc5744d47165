"""The review of a submission, which runs none of it."""
