"""The WHERE clause of a list: conditions with the values that belong to them, numbered for asyncpg."""

from typing import Any


class Filters:
    """Conditions that must all hold. `?` in a condition stands for its next value; values never become SQL text."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._conditions: list[str] = []

    def add(self, condition: str, *values: Any) -> None:
        self._conditions.append(self.numbered(condition, *values))

    def equal(self, column: str, value: Any) -> None:
        """Hold a column to a value; None stands for any."""
        if value is not None:
            self.add(f"{column} = ?", value)

    def numbered(self, sql: str, *values: Any) -> str:
        """SQL whose `?` are the numbers under which `values` will travel."""
        parts = sql.split("?")
        assert len(parts) == len(values) + 1, "one value for each ?"
        for index, value in enumerate(values):
            self.values.append(value)
            parts[index] += f"${len(self.values)}"
        return "".join(parts)

    @property
    def where(self) -> str:
        return " AND ".join(self._conditions) or "true"
