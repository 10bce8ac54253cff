"""Forecasts out, for one series and for many, and their refreshing."""
