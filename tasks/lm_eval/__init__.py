"""Our questions for lm-eval, and the reader that asks them."""
