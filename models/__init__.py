"""The forecasting engine: arrays in, arrays out. It knows no HTTP, no SQL and no settings.

Reading order: `panel.py` (the data), `windows.py` and `features.py` (what a network sees), `networks/` (the networks),
`training.py` (how one is made), `inference.py` (how one answers), `evaluation.py` and `metrics.py` (how it is judged).
"""
