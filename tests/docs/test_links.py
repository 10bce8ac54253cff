"""Every relative link of every document leads to a file that is there, and to a heading that it has."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?<!`)\[[^\]]*\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)")
_FENCED = re.compile(r"^\s*(```|~~~).*?^\s*\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")


def test_links_lead_somewhere() -> None:
    broken = [f"{page.relative_to(ROOT)}: {link}" for page in pages() for link in links(page) if not leads(page, link)]
    assert not broken


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[good](page.md#one) [bad](none.md) [bad](#two)\n```\n[not](a-link.md)\n```\n`[nor](this.md)`"
    )
    assert [link for link in links(page) if not leads(page, link)] == ["none.md", "#two"]


def pages() -> list[Path]:
    """The Markdown files that belong to the project, those not yet committed included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]  # a source archive


def links(page: Path) -> Iterator[str]:
    text = _CODE.sub("", _FENCED.sub("", page.read_text(encoding="utf-8")))
    for match in _LINK.finditer(text):
        if not re.match(r"[a-z]+:", match[1]):
            yield match[1]


def leads(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them; a heading that comes twice gets -1."""
    found: set[str] = set()
    for title in re.findall(r"^#+ +(.+?) *$", _FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()).replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-1")
    return found
