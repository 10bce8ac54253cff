"""The page that a request asks for: `page_size` and `page_token`. What a page is stands in app/database/pages.py."""

from typing import Annotated

from fastapi import Depends, Query

from app.database.pages import DEFAULT_PAGE_SIZE, Page

MAX_PAGE_SIZE = 10_000
MAX_TOKEN_LENGTH = 8_192


def asked_page(
    page_size: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="Rows of a page.")] = DEFAULT_PAGE_SIZE,
    page_token: Annotated[
        str | None, Query(max_length=MAX_TOKEN_LENGTH, description="`next_page_token` of the page before.")
    ] = None,
) -> Page:
    return Page(page_size, page_token)


PageQuery = Annotated[Page, Depends(asked_page)]
