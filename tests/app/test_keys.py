"""Who is let in."""

import httpx

from app.config import Settings


async def test_the_first_start_makes_one_admin_key_that_only_this_user_can_read(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    assert settings.admin_key_file.stat().st_mode & 0o777 == 0o600
    assert settings.admin_key_file.read_text().startswith("shelfcast_")
