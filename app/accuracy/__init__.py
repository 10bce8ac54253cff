"""Forecasts as they were issued, beside what came: kept, scored, read."""
