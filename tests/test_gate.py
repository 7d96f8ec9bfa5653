"""The gate of a bot: when may it be tried, and how many at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reve_middleware.gate import (
    FAILURES_THAT_CLOSE,
    HELD_FOR_CONFIGURATION,
    HELD_FOR_TOKEN,
    LARGEST_ROUND,
    LONGEST_RETRY_AFTER,
    LONGEST_WAIT,
    ROUND_SECONDS,
    Gate,
    back_off,
    wait_for,
)


def start(gate: Gate, now: float) -> int:
    """Start as many attempts as the gate allows, at most 100."""
    count = 0
    while count < 100 and gate.may_try(now):
        gate.started(now)
        count += 1
    return count


def fail(gate: Gate, now: float, *, retry_after: float | None = None, chance: float = 0.5) -> bool:
    gate.started(now)
    return gate.failed(now, retry_after, chance)


def hold(gate: Gate, now: float, seconds: float = HELD_FOR_TOKEN, reason: str = "token") -> bool:
    gate.started(now)
    return gate.hold(now, seconds, reason)


def succeed(gate: Gate, now: float) -> bool:
    gate.started(now)
    return gate.succeeded(now)


# How long to wait ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "most"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (6, 32.0), (7, 60.0), (8, 60.0), (5000, 60.0)]
)
def test_the_wait_doubles_from_one_second_to_sixty(failures: int, most: float) -> None:
    """Full jitter: anything from nothing to 1 s after the first failure, doubling to 60 s."""
    assert back_off(failures, 0.0) == 0.0
    assert back_off(failures, 0.5) == most / 2
    assert back_off(failures, 1.0) == most


@given(st.integers(0, 10**6), st.floats(0, 1), st.none() | st.floats(0, 1e12))
def test_the_wait_is_bounded(failures: int, chance: float, retry_after: float | None) -> None:
    """No wait is negative, longer than 330 s, or shorter than what the server asked for up to 300 s."""
    wait = wait_for(failures, retry_after, chance)
    assert 0 <= wait <= (LONGEST_WAIT if retry_after is None else 330.0) + 1e-6
    assert wait >= back_off(failures, chance)
    if retry_after is not None:
        assert wait >= min(retry_after, LONGEST_RETRY_AFTER)
        assert wait <= max(back_off(failures, chance), min(retry_after, LONGEST_RETRY_AFTER)) * 1.1 + 1e-6


def test_what_the_server_asks_for_never_shortens_the_wait() -> None:
    """Retry-After counts where it is more than the back-off, and not beyond 300 s."""
    assert wait_for(5, 1.0, 0.5) == pytest.approx(8.0 * 1.05)
    assert wait_for(1, 30.0, 0.0) == 30.0
    assert wait_for(1, 10.0**9, 1.0) == pytest.approx(330.0)


# Overload --------------------------------------------------------------------------------------


def test_a_bot_that_has_not_answered_yet_is_tried_by_one() -> None:
    """A token that was wrong from the beginning costs one attempt, however many wait."""
    gate = Gate()
    assert start(gate, 0.0) == 1
    assert gate.failed(0.0, None, 0.5) is False
    assert start(gate, 0.0) == 1, "a fault says nothing about the token"
    assert gate.hold(0.0, HELD_FOR_TOKEN, "token") is True
    assert start(gate, 0.0) == 0


def test_an_open_gate_sets_no_limit() -> None:
    """Once the bot has answered, and without failures, only the sender's own limit counts."""
    gate = Gate()
    assert succeed(gate, 0.0) is False
    assert start(gate, 0.0) == 100
    assert gate.reason == ""
    assert gate.opens_at() is None


def test_five_failures_in_a_row_close_it() -> None:
    """The fifth failure in a row closes the gate, says so once, and no attempt is allowed before the back-off."""
    gate = Gate()
    assert [fail(gate, 0.0) for _ in range(6)] == [False] * 4 + [True] + [False]
    assert FAILURES_THAT_CLOSE == 5
    assert gate.reason == "overload"
    opens_at = gate.opens_at()
    assert opens_at == back_off(6, 0.5)
    assert not gate.may_try(opens_at - 0.001)
    assert gate.may_try(opens_at)


def test_a_success_in_between_counts_from_the_beginning() -> None:
    """Four failures, a success and four failures leave the gate open."""
    gate = Gate()
    for _ in range(4):
        fail(gate, 0.0)
    assert succeed(gate, 0.0) is False
    assert not any(fail(gate, 0.0) for _ in range(4))
    assert gate.may_try(0.0)


def test_one_probe_at_a_time() -> None:
    """After the back-off one probe goes; while it is under way no other does, and its failure closes for longer."""
    gate = Gate()
    for _ in range(5):
        fail(gate, 0.0, chance=1.0)
    assert start(gate, 16.0) == 1
    assert gate.opens_at() is None, "nobody knows before the probe is back"
    assert gate.failed(16.0, None, 1.0) is False
    assert gate.opens_at() == 16.0 + 32.0
    assert start(gate, 47.9) == 0
    assert start(gate, 48.0) == 1


def reopened() -> Gate:
    """Closed by failures, and opened by a probe at 0 s."""
    gate = Gate()
    for _ in range(FAILURES_THAT_CLOSE):
        fail(gate, 0.0, chance=0.0)
    assert start(gate, 0.0) == 1
    assert gate.succeeded(0.0) is True
    return gate


def test_traffic_ramps_one_two_four_eight() -> None:
    """After the probe, 1, 2, 4 and 8 go, each round when the one before is answered; then there is no limit."""
    gate = reopened()
    assert gate.reason == ""
    begun = []
    for second in range(4):
        begun.append(start(gate, float(second)))
        for _ in range(begun[-1]):
            assert start(gate, second + 0.5) == 0, "a round is no window that slides"
            assert gate.succeeded(second + 0.5) is False
    assert begun == [1, 2, 4, LARGEST_ROUND]
    assert start(gate, 4.0) == 100


def test_the_first_second_after_an_outage_sees_two_requests() -> None:
    """No round begins sooner than a second after the one before, however quick the answers."""
    gate = reopened()
    assert start(gate, 0.0) == 1
    assert gate.opens_at() is None, "its answer is awaited"
    gate.succeeded(0.01)
    assert ROUND_SECONDS == 1.0
    assert gate.opens_at() == 1.0
    assert start(gate, 0.999) == 0
    assert start(gate, 1.0) == 2


def test_a_round_that_is_not_answered_holds_the_next_one() -> None:
    """Time alone widens nothing."""
    gate = reopened()
    start(gate, 0.0)
    gate.succeeded(0.0)
    assert start(gate, 1.0) == 2
    gate.succeeded(1.1)
    assert start(gate, 100.0) == 0
    gate.succeeded(100.0)
    assert start(gate, 100.0) == 4


def test_what_we_break_off_is_taken_back_from_its_round() -> None:
    """A round that we broke off ourselves is made full again."""
    gate = reopened()
    start(gate, 0.0)
    gate.abandoned()
    assert start(gate, 0.0) == 1
    gate.succeeded(0.0)
    assert start(gate, 0.5) == 0
    assert start(gate, 1.0) == 2


def test_a_failure_on_the_ramp_closes_it_again() -> None:
    """While traffic ramps, one failure is enough."""
    gate = reopened()
    assert fail(gate, 1.0, chance=1.0) is True
    assert gate.opens_at() == 2.0
    assert start(gate, 1.5) == 0
    assert succeed(gate, 2.0) is True
    assert start(gate, 2.0) == 1


def eight_under_way() -> Gate:
    gate = Gate()
    succeed(gate, 0.0)
    for _ in range(8):
        gate.started(0.0)
    return gate


def test_what_was_under_way_when_it_closed_opens_nothing() -> None:
    """A success that comes in after five failures leaves the gate closed until a probe gets through."""
    gate = eight_under_way()
    assert [gate.failed(0.0, None, 1.0) for _ in range(5)] == [False] * 4 + [True]
    assert gate.succeeded(0.1) is False
    assert gate.reason == "overload"
    assert [gate.succeeded(0.1), gate.succeeded(0.1)] == [False, False]
    assert gate.opens_at() == back_off(5, 1.0)


def test_failures_at_once_make_no_longer_wait() -> None:
    """Eight that fail together are five failures and no more, unless one of them brings a pause."""
    gate = eight_under_way()
    for _ in range(7):
        gate.failed(0.0, None, 1.0)
    assert gate.opens_at() is None, "one is under way yet"
    assert gate.failed(0.0, 100.0, 0.0) is False
    assert gate.opens_at() == 100.0
    assert start(gate, 100.0) == 1
    gate.failed(100.0, None, 1.0)
    assert gate.opens_at() == 100.0 + back_off(6, 1.0)


def test_what_was_under_way_ends_no_hold() -> None:
    """A fault of an attempt from before a refused token leaves the bot held, and held time running."""
    gate = eight_under_way()
    gate.hold(10.0, HELD_FOR_TOKEN, "token")
    gate.failed(11.0, None, 1.0)
    gate.succeeded(12.0)
    gate.failed(13.0, 300.0, 0.0)
    assert gate.reason == "token"
    assert gate.held(40.0) == 30.0


def test_a_pause_that_the_server_asks_for_is_kept_at_once() -> None:
    """One answer with Retry-After closes the gate for the whole bot, for that long."""
    gate = Gate()
    assert fail(gate, 0.0, retry_after=120.0, chance=0.0) is True
    assert gate.opens_at() == 120.0
    assert start(gate, 119.9) == 0
    assert start(gate, 120.0) == 1


# Held ------------------------------------------------------------------------------------------


def test_a_wrong_token_is_probed_once_a_minute() -> None:
    """A refused token holds the bot; one probe goes each minute; it is said once."""
    gate = Gate()
    assert HELD_FOR_TOKEN == 60.0
    assert hold(gate, 0.0) is True
    for minute in (60.0, 120.0, 180.0):
        assert start(gate, minute - 0.1) == 0
        assert start(gate, minute) == 1
        assert gate.hold(minute, HELD_FOR_TOKEN, "token") is False
    assert gate.reason == "token"
    assert succeed(gate, 240.0) is True
    assert gate.reason == ""


def test_a_wrong_link_is_probed_every_five_minutes() -> None:
    """Redirects, 410 and TLS faults hold the bot for 300 s."""
    gate = Gate()
    assert HELD_FOR_CONFIGURATION == 300.0
    hold(gate, 0.0, HELD_FOR_CONFIGURATION, "configuration")
    assert start(gate, 299.9) == 0
    assert start(gate, 300.0) == 1


def test_another_reason_is_said_again() -> None:
    """From a wrong token to a wrong link is news."""
    gate = Gate()
    assert hold(gate, 0.0) is True
    assert hold(gate, 60.0, HELD_FOR_CONFIGURATION, "configuration") is True
    assert hold(gate, 360.0, HELD_FOR_CONFIGURATION, "configuration") is False


def test_time_under_a_hold_is_counted() -> None:
    """held() is the time under holds in all: it runs during one, stops when a probe gets through, and goes on later."""
    gate = Gate()
    assert gate.held(50.0) == 0.0
    hold(gate, 100.0)
    assert gate.held(130.0) == 30.0
    hold(gate, 160.0)
    assert gate.held(200.0) == 100.0
    succeed(gate, 220.0)
    assert gate.held(1000.0) == 120.0
    hold(gate, 1000.0)
    assert gate.held(1010.0) == 130.0


def test_time_without_a_server_is_not_held() -> None:
    """Overload and a lost network count as age; a hold that ends in one counts until then."""
    gate = Gate()
    for _ in range(5):
        fail(gate, 0.0)
    assert gate.held(500.0) == 0.0
    hold(gate, 500.0)
    fail(gate, 560.0)
    assert gate.held(900.0) == 60.0


def test_an_attempt_that_we_break_off_says_nothing() -> None:
    """An abandoned attempt changes nothing but the number of those under way."""
    gate = Gate()
    for _ in range(5):
        fail(gate, 0.0, chance=0.0)
    assert start(gate, 0.0) == 1
    gate.abandoned()
    assert gate.reason == "overload"
    assert start(gate, 0.0) == 1
