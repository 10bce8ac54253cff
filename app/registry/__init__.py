"""Versions of models: artifacts, aliases, promotion, retention."""
