"""Examples in Markdown files: which are run, in what order, and what their output is compared with.

How to mark one (an HTML comment on a line of its own, right before the fence; blank lines between are allowed):

    <!-- run -->               the next fence, ```bash or ```python, is run and must exit with 0
    <!-- output -->            the next fence is what the last run printed. Text is compared line by line: `…` in a line
                               stands for anything, a line that is only `…` for any lines. JSON is compared as JSON: the
                               string "…" stands for any value, for the rest of a list, and, as a name, for further names
    <!-- output shape -->      JSON of the same names and the same kinds of values; the values may be others
    <!-- run unseen            commands down to the closing line, run like ```bash but not shown to the reader
    -->
    <!-- example NAME -->      the next fence is not run in order, but by the test that asks for it by its name

test_examples.py runs each file's examples from top to bottom against one `shelfcast serve` that all files share. They run in a
folder that looks like a fresh checkout in use: `.venv` and `.shelfcast` (with `admin.key`) are there, `shelfcast` and `python`
are on the PATH, http://127.0.0.1:8000 is the service, and sales.csv and sales.parquet hold five small series (A-1 to A-5 at S1,
200 days up to 2026-11-23; nothing is posted yet). A variable that an example sets is there in the next ones of its file.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ANY = "…"
_MARK = re.compile(r"\s*<!--\s*(run|output|output shape|run unseen|example [\w -]+?)\s*(-->)?\s*")
_FENCE = re.compile(r"(\s*)(`{3,}|~{3,})\s*(\w*)\s*")


@dataclass
class Example:
    """Commands, and what they print: pairs of documented output and how it is compared."""

    file: Path
    line: int
    language: str
    code: str
    outputs: list[tuple[str, Literal["output", "output shape"]]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class MarkError(ValueError):
    """A mark without what it needs; the message names file and line."""


def examples(file: Path) -> list[Example]:
    """The examples of a file that are run in order."""
    found: list[Example] = []
    for mark, line, language, code in _marked(file):
        if mark.startswith("run"):
            found.append(Example(file, line, language, code))
        elif mark in ("output", "output shape"):
            if not found:
                raise MarkError(f"{file}:{line}: an output without anything run before it")
            found[-1].outputs.append((code, "output" if mark == "output" else "output shape"))
    return found


def named(file: Path) -> dict[str, Example]:
    """The examples of a file that tests ask for by name."""
    return {
        mark.removeprefix("example "): Example(file, line, language, code)
        for mark, line, language, code in _marked(file)
        if mark.startswith("example ")
    }


def _marked(file: Path) -> Iterator[tuple[str, int, str, str]]:
    """Every mark with the line, the language and the content of what it marks."""
    lines = file.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        opened = _FENCE.fullmatch(lines[at])
        mark = None if opened else _MARK.fullmatch(lines[at])
        if mark is None:  # a fence without a mark may show marks: its content is none of ours
            at = _end_of(lines, at, opened) + 1 if opened else at + 1
        elif mark[1] == "run unseen":
            end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == "-->")
            yield "run", at + 1, "bash", "\n".join(lines[at + 1 : end])
            at = end + 1
        else:
            start = next((n for n in range(at + 1, len(lines)) if lines[n].strip()), at)
            fence = _FENCE.fullmatch(lines[start])
            if mark[2] is None or fence is None:
                raise MarkError(f"{file}:{at + 1}: `{mark[1]}` is not followed by a fence")
            end = _end_of(lines, start, fence)
            indent = len(fence[1])
            yield mark[1], at + 1, fence[3], "\n".join(line[indent:] for line in lines[start + 1 : end])
            at = end + 1


def _end_of(lines: list[str], start: int, fence: re.Match[str]) -> int:
    closing = re.compile(r"\s*" + re.escape(fence[2][0]) + "{" + str(len(fence[2])) + r",}\s*")
    return next((n for n in range(start + 1, len(lines)) if closing.fullmatch(lines[n])), len(lines))


def differences(documented: str, printed: str, how: Literal["output", "output shape"]) -> list[str]:
    """What a documented output and a printed one differ in, a sentence each; empty when they agree."""
    expected = _json(documented)
    if expected is not None:
        found = _json(printed)
        if found is None:
            return [f"printed is not JSON: {printed!r}"]
        return list(_json_differences(expected[0], found[0], "$", shape=how == "output shape"))
    if how == "output shape":
        return ["only JSON has a shape"]
    return [] if _text_pattern(documented).fullmatch(printed.strip("\n")) else [f"printed:\n{printed}"]


def _json(text: str) -> tuple[Any] | None:
    try:
        return (json.loads(text),)
    except ValueError:
        return None


def _json_differences(expected: Any, found: Any, at: str, *, shape: bool) -> Iterator[str]:
    if expected == ANY:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        yield from _object_differences(expected, found, at, shape=shape)
    elif isinstance(expected, list) and isinstance(found, list):
        yield from _list_differences(expected, found, at, shape=shape)
    elif shape:
        if _kind(expected) != _kind(found):
            yield f"{at} is documented as {expected!r}, printed as {found!r}"
    elif expected != found or isinstance(expected, bool) != isinstance(found, bool):
        yield f"{at} is documented as {expected!r}, printed as {found!r}"


def _object_differences(expected: dict[str, Any], found: dict[str, Any], at: str, *, shape: bool) -> Iterator[str]:
    for name in [name for name in expected if name not in found and name != ANY]:
        yield f"{at}.{name} is documented, but not printed"
    for name in [name for name in found if name not in expected and ANY not in expected]:
        yield f"{at}.{name} is printed, but not documented"
    for name in [name for name in expected if name in found]:
        yield from _json_differences(expected[name], found[name], f"{at}.{name}", shape=shape)


def _list_differences(expected: list[Any], found: list[Any], at: str, *, shape: bool) -> Iterator[str]:
    open_ended = expected[-1:] == [ANY]
    wanted = expected[:-1] if open_ended else expected
    if len(found) < len(wanted) or (len(found) > len(wanted) and not open_ended):
        yield f"{at} is documented with {len(wanted)} elements, printed with {len(found)}"
    for number, (one, other) in enumerate(zip(wanted, found, strict=False)):
        yield from _json_differences(one, other, f"{at}[{number}]", shape=shape)


def _kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _text_pattern(documented: str) -> re.Pattern[str]:
    lines = documented.strip("\n").split("\n")
    parts = [r"(?:[^\n]*(?:\n|\Z))*?" if line.strip() == ANY else _line_pattern(line) + r"(?:\n|\Z)" for line in lines]
    return re.compile("".join(parts))


def _line_pattern(line: str) -> str:
    return r"[^\n]*".join(re.escape(piece) for piece in line.rstrip().split(ANY)) + r"[ \t]*"
