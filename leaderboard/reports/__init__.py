"""What the documents say of the records, generated."""
