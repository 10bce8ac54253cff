"""Any history of posts, deletes and undos, against a model that keeps a stack of writers for every row."""

import itertools
from typing import Any

import httpx
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.database.engine import Database
from tests.posts.calls import day, pages, row, sales, stored, whole

SKUS, DAYS = 2, 3
CELLS = st.tuples(st.integers(0, SKUS - 1), st.integers(1, DAYS))
POSTS = st.tuples(st.just("post"), st.dictionaries(CELLS, st.sampled_from([None, 1.0, 2.0]), min_size=1))
DELETES = st.tuples(st.just("delete"), CELLS)
UNDOS = st.tuples(st.just("undo"), st.integers(0, 30))
ABSENT = object()
counter = itertools.count()


class Model:
    """Each row's stack of (post, value): what undo must bring back, said in the plainest way."""

    def __init__(self) -> None:
        self.stacks: dict[tuple[int, int], list[tuple[int, Any]]] = {}
        self.posts: list[int] = []
        self.undone: set[int] = set()

    def value(self, cell: tuple[int, int]) -> Any:
        stack = self.stacks.get(cell)
        return stack[-1][1] if stack else ABSENT

    def write(self, post: int, cell: tuple[int, int], value: Any) -> None:
        if self.value(cell) is not value and self.value(cell) != value:
            self.stacks.setdefault(cell, []).append((post, value))

    def undo(self, post: int) -> bool:
        touched = [stack for stack in self.stacks.values() if any(writer == post for writer, _ in stack)]
        if post in self.undone or any(stack[-1][0] != post for stack in touched):
            return False
        for stack in touched:
            stack.pop()
        self.undone.add(post)
        return True


ONE = (0, 1)
COVERED = [("post", {ONE: 1.0}), ("delete", ONE), ("post", {ONE: 1.0}), ("delete", ONE), ("undo", 1)]


@example(history=[*COVERED, ("undo", 3), ("undo", 1), ("undo", 2), ("undo", 1), ("undo", 0)])
@given(history=st.lists(POSTS | DELETES | UNDOS, min_size=3, max_size=14))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_history(client: httpx.AsyncClient, database: Database, history: list[tuple[str, Any]]) -> None:
    place, model = f"shop {next(counter)}", Model()
    for kind, what in history:
        if kind == "post":
            rows = [row(f"sku {s}", day(d), value) | {"location": place} for (s, d), value in what.items()]
            answer = await client.post("/v1/sales", json={"sales": rows})
            for cell, value in what.items():
                model.write(answer.json()["post_id"], cell, value)
            model.posts.append(answer.json()["post_id"])
        elif kind == "delete":
            query = {"sku": f"sku {what[0]}", "location": place, "from": day(what[1]), "to": day(what[1])}
            answer = await client.delete("/v1/sales", params=query)
            assert answer.json()["deleted"] == (model.value(what) is not ABSENT)
            if answer.json()["post_id"] is not None:
                model.write(answer.json()["post_id"], what, ABSENT)
                model.posts.append(answer.json()["post_id"])
        elif model.posts:
            post = model.posts[what % len(model.posts)]
            answer = await client.post(f"/v1/posts/{post}/undo")
            assert answer.status_code == (200 if model.undo(post) else 409), (history, kind, what, answer.text)
    await compare(client, database, place, model)


async def compare(client: httpx.AsyncClient, database: Database, place: str, model: Model) -> None:
    values = {cell: model.value(cell) for cell in sorted(model.stacks) if model.value(cell) is not ABSENT}
    expected = [whole(row(f"sku {s}", day(d), value) | {"location": place}) for (s, d), value in values.items()]
    assert await sales(client, location=place) == expected
    writers = await stored(
        database,
        "SELECT s.sku, extract(day FROM x.day)::int, x.post_id FROM sales x JOIN series s ON s.id = x.series_id"
        " WHERE s.location = $1",
        place,
    )
    assert sorted(writers) == [(f"sku {s}", d, model.stacks[s, d][-1][0]) for s, d in values]
    for series in await pages(client, "series", location=place):
        days = [day(d) for s, d in values if f"sku {s}" == series["sku"]]
        stats = (len(days), min(days, default=None), max(days, default=None))
        assert (series["rows"], series["first_day"], series["last_day"]) == stats
