"""The marks of examples, and how a documented output is compared with a printed one."""

from pathlib import Path
from typing import Literal

import pytest

from tests.docs.examples import MarkError, differences, examples, named

PAGE = """\
# A page
<!-- run -->
```bash
echo one
```
Some words.

<!-- output -->

```
one
```
<!-- run unseen
echo hidden
-->
```bash
<!-- run -->
not an example, but one that shows a mark
```
1. In a list:
   <!-- run -->
   ```python
   if True:
       print(2)
   ```
<!-- example back-up -->
```bash
echo back-up
```
"""


def page(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "page.md"
    file.write_text(text)
    return file


def test_examples_come_in_order_with_their_outputs(tmp_path: Path) -> None:
    found = examples(page(tmp_path, PAGE))
    assert [(example.language, example.code) for example in found] == [
        ("bash", "echo one"),
        ("bash", "echo hidden"),
        ("python", "if True:\n    print(2)"),
    ]
    assert found[0].outputs == [("one", "output")]
    assert not found[1].outputs


def test_a_named_example_is_not_run_in_order(tmp_path: Path) -> None:
    assert named(page(tmp_path, PAGE))["back-up"].code == "echo back-up"


@pytest.mark.parametrize("text", ["<!-- run -->\nno fence\n", "<!-- output -->\n```\nof nothing\n```\n"])
def test_a_mark_without_what_it_needs_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(MarkError, match=r"page\.md:1"):
        examples(page(tmp_path, text))


@pytest.mark.parametrize(
    ("documented", "printed"),
    [
        ('{"a": 1, "b": "…"}', '{"b": [2], "a": 1}'),
        ('{"a": 1, "…": "…"}', '{"a": 1, "b": 2}'),
        ('[1, "…"]', "[1, 2, 3]"),
        ("one … three\n…\nend", "one two three\nx\ny\nend\n"),
        ("…\nend", "end"),
        ("same", "same\n"),
    ],
)
def test_outputs_that_agree(documented: str, printed: str) -> None:
    assert not differences(documented, printed, "output")


@pytest.mark.parametrize(
    ("documented", "printed", "how"),
    [
        ('{"a": 1}', '{"a": 2}', "output"),
        ('{"a": 1}', '{"a": true}', "output"),
        ('{"a": 1}', '{"a": 1, "b": 2}', "output"),
        ('{"a": 1, "b": 2}', '{"a": 1}', "output"),
        ("[1]", "[1, 2]", "output"),
        ('[1, 2, "…"]', "[1]", "output"),
        ('{"a": 1}', "not JSON", "output"),
        ("one\ntwo", "one", "output"),
        ("one", "one\ntwo", "output"),
        ('{"a": 1}', '{"a": "1"}', "output shape"),
        ('{"a": [{"b": 1}]}', '{"a": [{"c": 1}]}', "output shape"),
        ("text", "text", "output shape"),
    ],
)
def test_outputs_that_differ(documented: str, printed: str, how: Literal["output", "output shape"]) -> None:
    assert differences(documented, printed, how)


def test_a_shape_takes_other_values() -> None:
    assert not differences('{"a": 1, "b": ["x"]}', '{"a": 2.5, "b": ["y"]}', "output shape")
