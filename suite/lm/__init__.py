"""The standard language model and its kernels."""
