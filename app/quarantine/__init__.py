"""Quarantine: posted days that cannot be true, held from learning and forecasts until somebody says what they are."""
