"""`python -m app.cli` is `shelfcast`."""

from app.cli import main

main()
