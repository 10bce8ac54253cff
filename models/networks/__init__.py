"""The networks: one trunk a file, one network around them."""
