"""One training and its measurement: profiles, training, evaluation, timing."""
