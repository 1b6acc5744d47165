"""A benchmark suite and leaderboard for positional encodings of causal Transformer language models."""

__version__ = "0.2.0.dev0"
