"""The standard model, its training, its measurement, and the runner that turns cells into records."""
