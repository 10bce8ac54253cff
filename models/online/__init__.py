"""Online updating: a forecaster that learns from the sales that arrive, at several speeds, cheapest first.

    speed  what changes                                              where
    L0     nothing but the context: the same weights read newer days inference.py
    L1     a series' past is brought to its present level            shifts.py
           weights of the experts, per series                        tracking.py
    L2     quantiles, per series, stretch of the horizon and level   tracking.py
    L3     a lineage of the networks learns on                       finetuning.py
    L4     networks are trained from scratch beside that lineage     training.py, stream.py

`drift.py` finds what has become worse, which lets L3 and L4 come sooner. `stream.py` is the loop over days that come in.
"""
