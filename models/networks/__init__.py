"""The networks: one trunk a file, one forecaster around them."""
