"""The documents' examples do what they say, on a real service. How they are marked is in examples.py."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.checkout import DOCUMENTED_ADDRESS, checkout_in, environment, run, shell
from tests.docs.examples import Example, differences, examples
from tests.serve.service import Service

ROOT = Path(__file__).parents[2]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if examples(page)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("examples")
    checkout_in(folder)
    service = Service(folder / ".shelfcast", output=folder / "service").until_ready()
    yield service
    service.end()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_a_page(page: Path, service: Service) -> None:
    variables = environment(SHELFCAST_URL=service.url)
    for example in examples(page):
        printed = execute(example, service, variables)
        for documented, how in example.outputs:
            assert not differences(documented, printed, how), f"{example}: {example.code}"


def test_the_readme_shows_examples_that_are_run() -> None:
    assert len([example for example in examples(ROOT / "README.md") if example.outputs]) > 0


def execute(example: Example, service: Service, variables: dict[str, str]) -> str:
    """What the example prints, with the documented address in place of the real one."""
    code = example.code.replace(DOCUMENTED_ADDRESS, service.url)
    assert example.language in ("bash", "python"), f"{example}: {example.language!r} cannot be run"
    if example.language == "python":
        ran = run([sys.executable, "-c", code], service.home.parent, variables)
    else:
        ran = shell(code, service.home.parent, variables)
    assert ran.returncode == 0, f"{example} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout.replace(service.url, DOCUMENTED_ADDRESS)
