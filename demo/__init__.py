"""A year of a real grocer through the whole service: posted over HTTP, learned from, forecast, shown in the terminal."""
