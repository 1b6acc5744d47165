"""The text: its packages, its checks, its split."""
