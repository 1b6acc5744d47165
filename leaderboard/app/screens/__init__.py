"""The pages of the app, one file each: `show` draws it. No arithmetic here (that is in views.py)."""
