"""`python -m app.cli` is `shelfcast`."""

from app.cli.commands import main

main()
