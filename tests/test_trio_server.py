"""A real server that runs trio: `hypercorn -k trio`, a webhook, and one visitor."""

from collections.abc import Iterator
from pathlib import Path

import programs
import pytest
from test_servers import Bot, bot
from workers import Site, visit

__all__ = ["bot"]
TRIO = "hypercorn -k trio"


@pytest.fixture
def site(bot: Bot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setitem(programs.PROGRAMS, TRIO, f"{programs.PROGRAMS['hypercorn']} --worker-class trio")
    with Site(TRIO, 1, bot.environment, tmp_path) as site:
        yield site


def test_hypercorn_under_trio(site: Site, bot: Bot) -> None:
    """Under trio a logged-in visitor's chat is captured at once, the page has its tag, a change is pushed once, and
    what waits when the server ends is delivered before."""
    with visit(site) as visitor:
        visitor.post("/login?user=ada")
        assert visitor.report("trio-1") == "queued"
        assert visitor.ours == ["reve", "reve-mark"]
        assert b"<head><script src=" in visitor.get().content
        [stats] = site.flush()
        assert (stats["offered"], stats["delivered"]) == (1, 1)
        visitor.post("/phone?phone=2")
        visitor.get()
    site.stop()
    assert bot.phones("trio-1") == ["1", "2"]
    assert "pushes were not delivered" not in site.output
