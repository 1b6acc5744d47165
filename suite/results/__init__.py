"""The one contract with `leaderboard/`: records, metrics, names. Standard library only."""
