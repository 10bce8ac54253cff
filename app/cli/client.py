"""Requests to a running service, and how what goes wrong is told to a person."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import typer

from app.config import ClientSettings

TIMEOUT = httpx.Timeout(10, read=900, write=900)


class Refused(Exception):
    """The service answered with a problem."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.problem = _problem(response)
        super().__init__(self.problem.get("detail") or f"the service answered {response.status_code}")

    @property
    def passing(self) -> bool:
        """Whether the same request may well succeed later."""
        return self.status in (429, 503) or self.problem.get("code") == "idempotency_running"


class Client:
    """One service, one key."""

    def __init__(self, settings: ClientSettings | None = None) -> None:
        self.settings = settings or ClientSettings()
        key = self.settings.read_key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=self.settings.base_url, headers=headers, timeout=TIMEOUT)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = self.http.request(method, path, **options)
        if response.status_code >= 400:
            raise Refused(response)
        return response

    def get(self, path: str, **query: Any) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        return self.request("GET", path, params=given).json()

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.request("POST", path, json=body, **options).json()

    def pages(self, path: str, plural: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every object of a list, page after page."""
        token = None
        while True:
            page = self.get(path, page_token=token, **query)
            yield from page[plural]
            token = page["next_page_token"]
            if token is None:
                return


@contextmanager
def told() -> Iterator[Client]:
    """A client whose failures end the command with a sentence and exit code 1."""
    client = Client()
    try:
        yield client
    except Refused as refused:
        fail(str(refused), refused.problem.get("errors", []))
    except httpx.TransportError as error:
        fail(f"No service answers at {client.settings.base_url} ({error}). Start it with `shelfcast serve`.")
    finally:
        client.http.close()


def fail(sentence: str, errors: list[dict[str, Any]] | None = None) -> None:
    typer.secho(sentence, fg="red", err=True)
    for error in errors or []:
        row = f"row {error['row']} " if error.get("row") is not None else ""
        typer.secho(f"  {row}{error.get('field') or ''}: {error.get('detail')}", err=True)
    raise typer.Exit(1)


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, ensure_ascii=False, indent=None)
    sys.stdout.write("\n")


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {"detail": f"{response.request.url} answered {response.status_code} and no problem document."}
    return body if isinstance(body, dict) else {}
