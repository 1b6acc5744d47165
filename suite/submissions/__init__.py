"""From a new file to a packed submission, and a record run again."""
