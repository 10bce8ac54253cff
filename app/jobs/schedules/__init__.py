"""What runs by itself: the daily update, fine-tuning, retraining and housekeeping.

due.py       when a schedule runs: pure functions of its plan, an instant and what is known
requests.py  what the job of a schedule asks for
store.py     the SQL: plans read and changed, what there is to learn, whether a day's sales have come in
running.py   what is due now becomes a job, once
routes.py    how callers read and change plans; schemas.py has the shapes
"""
