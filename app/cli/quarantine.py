"""`shelfcast quarantine`: posted days that cannot be true, listed, confirmed and dismissed."""

from typing import Annotated, Any

import typer

from app.cli import show
from app.cli.client import print_json, told
from app.cli.learn import Json

_COLUMNS = ["id", "sku", "location", "date", "quantity", "expected", "reason", "status", "post_id"]

Ids = Annotated[list[int] | None, typer.Argument(help="Numbers of entries.")]
OfPost = Annotated[int | None, typer.Option("--post", help="All that are still held of one post, instead.")]

quarantine = typer.Typer(help="List, confirm and dismiss days that cannot be true.", no_args_is_help=True)


@quarantine.command("list")
def list_entries(
    sku: str | None = None,
    location: str | None = None,
    status: Annotated[str, typer.Option(help="held, confirmed, dismissed or replaced.")] = "held",
    post: Annotated[int | None, typer.Option(help="Those that one post brought.")] = None,
    as_json: Json = False,
) -> None:
    """The days in quarantine, newest entries first."""
    query = {"sku": sku, "location": location, "status": status, "post_id": post}
    with told() as client:
        found = list(client.pages("/v1/quarantine", "entries", **query))
    if as_json:
        print_json(found)
        return
    show.table(found, _COLUMNS)
    for reason in dict.fromkeys(entry["detail"] for entry in found[:20]):
        typer.echo(reason)


@quarantine.command()
def confirm(ids: Ids = None, post: OfPost = None, as_json: Json = False) -> None:
    """Say that days are true: they take part again."""
    _decide("confirm", ids, post, as_json=as_json)


@quarantine.command()
def dismiss(ids: Ids = None, post: OfPost = None, as_json: Json = False) -> None:
    """Say that days are false: they stay out until another quantity is posted for them."""
    _decide("dismiss", ids, post, as_json=as_json)


def _decide(word: str, ids: list[int] | None, post: int | None, *, as_json: bool) -> None:
    if bool(ids) == (post is not None):
        raise typer.BadParameter("give either numbers of entries or --post")
    body: dict[str, Any] = {"ids": ids} if post is None else {"post_id": post}
    with told() as client:
        answer = client.post(f"/v1/quarantine/{word}", body)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{answer['decided']} {'day' if answer['decided'] == 1 else 'days'} decided: {word}")
