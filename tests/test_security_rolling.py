"""A key that is rolled through the workers of a site while it is used (contract §4, THREATS T20)."""

from typing import Any

import pytest
import security_rolling
from drive import ShellKind, Visitor, page
from security_rolling import BETWEEN_STEPS, NEW, OLD, Load, Workers, roll

VISITORS = 6


def profile(request: Any) -> Any:
    user = request.cookies.get("user")
    return {"id": user, "phone": request.cookies["phone"]} if user else None


def run(shell: ShellKind, between: int = BETWEEN_STEPS) -> Load:
    """A roll through two middlewares, with six visitors at once."""

    def make(keys: list[str]) -> Any:
        return shell.wrap(shell.application(page()), profile=profile, secret_key=keys)

    workers = Workers([make([OLD]), make([OLD])])
    load = Load([Visitor(None, shell) for _ in range(VISITORS)], workers)
    load.run(lambda: roll(workers, load, make, between))
    return load


def test_a_key_rolls_through_two_workers_under_load(shell: ShellKind) -> None:
    """The new key verifies everywhere, then signs everywhere, then the old one goes: while two workers change one after
    the other, no visitor's chat is lost and no mark misunderstood."""
    load = run(shell)
    assert load.rejects == []
    assert load.requests >= 7 * BETWEEN_STEPS


@pytest.mark.parametrize("steps", [[[NEW, OLD], [NEW]], [[NEW]]], ids=["it signs at once", "it is swapped"])
def test_a_shorter_way_loses_chats(monkeypatch: pytest.MonkeyPatch, steps: list[list[str]]) -> None:
    """Why there are three steps: a worker that does not know a key yet takes none of its cookies."""
    monkeypatch.setattr(security_rolling, "STEPS", steps)
    shell = ShellKind("wsgi")
    try:
        assert run(shell, 200).rejects
    finally:
        shell.close()
