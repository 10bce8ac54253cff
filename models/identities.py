"""Who a series is to a network: a number for itself and one for each of its static attributes; 0 is one never seen.

Attributes are what the panel says of a series (brand, category), and SKU and location where several series share one: what
is learned of one series then helps its siblings, and a new series is known by its attributes.

Shapes: S series, A identities (the series' own first, then its attributes in the order of their names).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from models.panel import Panel
from models.windows import Index

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
        columns = [_numbers(panel.keys, self.keys)]
        columns += [_numbers(told.get(name, [""] * panel.series), values) for name, values in self.attributes.items()]
        return np.stack(columns, axis=1)


def identities_of(panel: Panel) -> Identities:
    """An identity for every series of the panel and every value of its attributes."""
    attributes = {name: sorted(set(texts) - {""}) for name, texts in panel.attributes().items()}
    return Identities(panel.keys, attributes)


def _numbers(names: Sequence[Hashable], known: Sequence[Hashable]) -> Index:
    number = {name: i + 1 for i, name in enumerate(known)}
    return np.array([number.get(name, UNKNOWN) for name in names], dtype=np.int64)
