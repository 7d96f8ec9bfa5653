"""What both shells promise, promised under trio as well: the tests of the flow, and the table of responses."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import test_flow
import test_flow_harm
import test_flow_late
import test_flow_look_up
import test_flow_sign_out
import test_flow_who
import test_raising
import test_table
import trio
from drive import ShellKind, Start
from under_trio import TrioKind, call_trio


@pytest.fixture
def shell() -> Iterator[ShellKind]:
    """In place of the shells of conftest.py."""
    kind = TrioKind()
    yield kind
    kind.close()


def collect(module: ModuleType) -> None:
    """Its tests and fixtures become this module's; they ask for `shell`, and get the one above."""
    for name, value in vars(module).items():
        if name.startswith("test_") or name in ("shop", "clock"):
            assert globals().setdefault(name, value) is value or not name.startswith("test_"), f"two tests named {name}"


for flow in (test_flow, test_flow_late, test_flow_look_up, test_flow_sign_out, test_flow_who, test_flow_harm):
    collect(flow)


def test_it_is_trio_that_runs(shell: ShellKind) -> None:
    """What runs application and callables here is trio."""
    tasks: list[Any] = []

    def app(_: Any) -> Any:
        tasks.append(trio.lowlevel.current_task())
        return [Start(200)]

    async def profile(_: Any) -> None:
        tasks.append(trio.lowlevel.current_task())

    shell.site(app, profile=profile).capture()
    assert len(tasks) == 2
    assert tasks[0] is tasks[1]


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("line", test_table.TABLE, ids=[line.name for line in test_table.TABLE])
def test_the_same_bytes_come_out_under_trio(line: test_table.Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page gets the tag behind its head and nothing else; what is no page leaves as the same messages."""
    monkeypatch.setattr(test_table, "call_asgi", call_trio)
    test_table.test_the_same_bytes_come_out_of_both_shells(line, "asgi")


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("visitor", test_raising.VISITORS)
@pytest.mark.parametrize("name", test_raising.RAISED_AFTER)
def test_the_same_exception_comes_out_under_trio(name: str, visitor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an application raises comes out as the very same object, and what it has said before goes out first."""
    monkeypatch.setattr(test_raising, "call_asgi", call_trio)
    test_raising.test_the_same_exception_comes_out_behind_the_same_bytes(name, "asgi", visitor)
