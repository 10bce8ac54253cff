"""Who a series is to a network: a number for itself and one for each of its static attributes; 0 is one never seen.

Attributes are what the panel says of a series (brand, category), and SKU and location where several series share one: what
is learned of one series then helps its siblings, and a new series is known by its attributes.

Shapes: S series, A identities (the series' own first, then its attributes in the order of their names).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.days import Index
from models.panel import Panel

UNKNOWN = 0


@dataclass(frozen=True)
class Identities:
    """The series and the values of attributes that a network has an identity for, in the order of their numbers from 1."""

    keys: list[tuple[str, str]]
    attributes: dict[str, list[str]]

    @property
    def sizes(self) -> list[int]:
        return [len(self.keys), *(len(values) for values in self.attributes.values())]

    def of(self, panel: Panel) -> Index:
        """The numbers (S, A) of a panel's series; an attribute that the panel does not tell is unknown."""
        told = {"sku": panel.skus, "location": panel.locations} | panel.static
        names: list[Sequence[Hashable]] = [panel.keys]
        names += [told.get(name, [""] * panel.series) for name in self.attributes]
        columns = [
            [number.get(name, UNKNOWN) for name in asked] for asked, number in zip(names, self._numbers, strict=True)
        ]
        return np.array(columns, dtype=np.int64).T

    @cached_property
    def _numbers(self) -> list[dict[Hashable, int]]:
        """Found once: a forecaster may know tens of thousands of series and be asked for one."""
        known: list[Sequence[Hashable]] = [self.keys, *self.attributes.values()]
        return [{name: i + 1 for i, name in enumerate(names)} for names in known]


def identities_of(panel: Panel) -> Identities:
    """An identity for every series of the panel and every value of its attributes.

    Attributes stand in the order of their names, which is also how an artifact keeps them: a network knows them by their place.
    """
    attributes = {name: sorted(set(texts) - {""}) for name, texts in sorted(panel.attributes().items())}
    return Identities(panel.keys, attributes)
