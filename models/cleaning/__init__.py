"""Cleaning: what a network must not learn from, told apart from what it must.

Gaps are told apart from true zeros and closed days, impossible days and days out of stock become missing, and missing
days of the inputs may be filled. Only contexts and the loss see cleaned sales; scores and simple methods use what was posted.

  days.py         what covariates say of a day: closed, out of stock, promotion or event
  outliers.py     what is usual, and which days sold impossibly much
  treatments.py   values for missing days of the inputs
  findings.py     the report, and closed days that nobody announced
  clean.py        all of it together: `clean` for a panel, `clean_memory` for windows
"""

from models.cleaning.clean import FILLING, REACH, Cleaned, Treatment, clean, clean_memory
from models.cleaning.days import covariates_of, merged
from models.cleaning.findings import Findings, nothing_found

__all__ = [
    "FILLING", "REACH", "Cleaned", "Findings", "Treatment", "clean", "clean_memory", "covariates_of", "merged",
    "nothing_found",
]  # fmt: skip
