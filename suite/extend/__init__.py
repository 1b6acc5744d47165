"""A pretrained model read far beyond its training: methods of context extension, measured and certified."""
