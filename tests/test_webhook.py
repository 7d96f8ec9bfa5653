"""What an answer means: the status, Retry-After, and what is read after the head of the answer."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reve_middleware import webhook
from reve_middleware.outcome import Outcome, judge, parse_retry_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)

# The status ------------------------------------------------------------------------------------


def kind_of(status: int) -> str:
    """The contract's table, written once more."""
    if status // 100 == 2:
        return "delivered"
    if status in (401, 403):
        return "token"
    if status in (408, 429) or status >= 500:
        return "again"
    if status < 400 or status == 410:
        return "hold"
    return "refused"


@pytest.mark.parametrize("status", range(100, 600))
def test_the_status_decides(status: int) -> None:
    """2xx is success; 408, 429 and 5xx are tried again; 401 and 403 are the token's; 3xx and 410 hold the bot; other
    4xx are dropped."""
    assert judge(status, None, NOW) == Outcome(kind_of(status), f"status_{status}", status, None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "delivered"), (204, "delivered"), (301, "hold"), (304, "hold"), (307, "hold"), (400, "refused"),
        (401, "token"), (403, "token"), (404, "refused"), (405, "refused"), (408, "again"), (409, "refused"),
        (410, "hold"), (413, "refused"), (415, "refused"), (422, "refused"), (429, "again"), (500, "again"),
        (503, "again"), (599, "again"), (999, "again"),
    ],
)  # fmt: skip
def test_the_statuses_that_matter(status: int, kind: str) -> None:
    """The statuses a webhook is likely to answer, one by one."""
    assert judge(status, None, NOW).kind == kind


def test_retry_after_counts_where_it_is_tried_again() -> None:
    """Retry-After is read from answers that ask for another attempt, and from no others."""
    assert judge(503, "7", NOW).retry_after == 7.0
    assert judge(429, "7", NOW).retry_after == 7.0
    assert judge(200, "7", NOW).retry_after is None
    assert judge(400, "7", NOW).retry_after is None
    assert judge(301, "7", NOW).retry_after is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("", None), ("120", 120.0), ("0", 0.0), (" 7 ", 7.0), ("-5", None), ("+5", None), ("1.5", None),
        ("1e9", None), ("0x10", None), ("9999999999", 9999999999.0), ("9" * 11, None), ("soon", None), ("120s", None),
        ("120;", None), ("5, 10", None), ("120, 120", None), ("١٢٠", None), ("²", None), ("\x00", None), ("12 0", None),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Thursday, 01-Jan-26 00:02:00 GMT", 120.0),
        ("Thu Jan  1 00:02:00 2026", 120.0),
        ("Thu, 01 Jan 2026 00:02:00", 120.0),
        ("Thu, 01 Jan 2026 00:02:00 -0000", 120.0),
        ("Thu, 01 Jan 2026 01:02:00 +0100", 120.0),
        ("Wed, 31 Dec 2025 23:59:00 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 GMT", None),
        ("Thu, 32 Jan 2026 00:00:00 GMT", None),
        ("Thu, 01 Jan 2026 00:02:00 +9999", None),
        ("Thu, 01 Jan 99999999999 00:02:00 GMT", None),
        ("2026-01-01T00:02:00Z", None),
    ],
)  # fmt: skip
def test_retry_after_in_every_form(value: str | None, seconds: float | None) -> None:
    """Seconds and dates of RFC 9110 §10.2.3 are understood; anything else, and a date in the past, is ignored."""
    assert parse_retry_after(value, NOW) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d{1,6} [\d:]{1,10} ([A-Z]{3}|[+-]\d{1,9})"))
def test_no_retry_after_raises(value: str) -> None:
    """Whatever stands in Retry-After, the answer is a number of seconds that is not negative, or none."""
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0


# The body --------------------------------------------------------------------------------------


class Body:
    """Chunks of a body, and how many of them were taken."""

    def __init__(self, *, size: int = 1024, pause: bool = False) -> None:
        self.taken = 0
        self.closed = False
        self._size = size
        self._pause = pause

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                self.taken += 1
                yield b"x" * self._size
                if self._pause:
                    await asyncio.get_running_loop().create_future()
        finally:
            self.closed = True


def test_at_most_four_kibibytes_of_a_body_are_read() -> None:
    """After the answer's head at most 4 KiB are taken; then the body is left alone."""
    assert webhook.READ_AFTER_STATUS_BYTES == 4096
    body = Body()
    asyncio.run(webhook._read_a_little(body.chunks()))
    assert body.taken == 5, "the chunk that goes beyond 4 KiB is the last"
    assert body.closed


def test_a_body_that_stalls_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the answer's head at most 1 s is spent on the body."""
    assert webhook.READ_AFTER_STATUS_SECONDS == 1.0
    monkeypatch.setattr(webhook, "READ_AFTER_STATUS_SECONDS", 0.02)
    body = Body(size=1, pause=True)
    asyncio.run(webhook._read_a_little(body.chunks()))
    assert body.taken == 1
    assert body.closed
