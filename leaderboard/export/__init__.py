"""The results as a dataset."""
