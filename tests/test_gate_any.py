"""The gate under any history of attempts."""

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from reve_middleware.gate import (
    FAILURES_THAT_CLOSE,
    HELD_FOR_CONFIGURATION,
    HELD_FOR_TOKEN,
    Gate,
)


class AnyHistory(RuleBasedStateMachine):
    """Attempts that begin when they may and end anyhow, with time going on."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.now = 0.0
        self.under_way = 0
        self.held = 0.0
        self.failures = 0
        self.probing = False

    @rule(most=st.integers(1, 12))
    def attempts_start(self, most: int) -> None:
        shut = self.gate.reason != ""
        while most and self.gate.may_try(self.now):
            assert not (shut and self.under_way), "one probe at a time"
            self.probing = shut
            self.gate.started(self.now)
            self.under_way += 1
            most -= 1

    @precondition(lambda self: self.under_way)
    @rule()
    def success(self) -> None:
        was = self.gate.reason
        assert self.gate.succeeded(self.now) is self.probing
        self.under_way -= 1
        if was == "" or self.probing:
            self.failures = 0
        assert self.gate.reason == ("" if self.probing else was)
        self.probing = False

    @precondition(lambda self: self.under_way)
    @rule(retry_after=st.none() | st.floats(0, 1e6), chance=st.floats(0, 0.999))
    def failure(self, retry_after: float | None, chance: float) -> None:
        was = self.gate.reason
        was_open = was == ""
        closed = self.gate.failed(self.now, retry_after, chance)
        assert closed <= was_open
        self.under_way -= 1
        if was_open or self.probing:
            self.failures += 1
            if self.failures >= FAILURES_THAT_CLOSE:
                assert self.gate.reason == "overload"
        else:
            assert self.gate.reason == was
        self.probing = False

    @precondition(lambda self: self.under_way)
    @rule(what=st.sampled_from([(HELD_FOR_TOKEN, "token"), (HELD_FOR_CONFIGURATION, "configuration")]))
    def held_up(self, what: tuple[float, str]) -> None:
        was = self.gate.reason
        assert self.gate.hold(self.now, *what) is (was != what[1])
        self.under_way -= 1
        self.probing = False
        assert not self.gate.may_try(self.now)

    @precondition(lambda self: self.under_way)
    @rule()
    def broken_off(self) -> None:
        before = self.gate.reason
        self.gate.abandoned()
        self.under_way -= 1
        self.probing = False
        assert self.gate.reason == before

    @rule(seconds=st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        before = self.gate.held(self.now)
        self.now += seconds
        after = self.gate.held(self.now)
        assert 0 <= after - before <= seconds + 1e-6

    @invariant()
    def it_can_always_recover(self) -> None:
        opens_at = self.gate.opens_at()
        if self.under_way == 0:
            assert self.gate.may_try(self.now if opens_at is None else max(opens_at, self.now))
            assert opens_at is None or opens_at <= self.now + 330.0 + 1e-6
        assert opens_at is None or self.under_way == 0
        assert opens_at is not None or self.gate.reason == "" or self.under_way
        assert self.gate._in_flight == self.under_way >= 0


def test_any_history_leaves_a_gate_that_can_open() -> None:
    """Whatever comes of the attempts: one probe at a time, within 330 s, and it never stays shut."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        AnyHistory, settings=hypothesis_settings(max_examples=100, stateful_step_count=40, deadline=None)
    )
