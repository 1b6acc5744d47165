"""Runs as processes: cells, workers, the sweep, fingerprints, checkpoints."""
