"""Who and what against the mark: every verdict (contract §5; THREATS T4, T5)."""

import json
from typing import Any

import pytest
from pure import KEY, NOW, OLD_KEY, Played, make_ids, make_memory, make_settings, no_dict, no_json, play

from reve_middleware.handover import Verdict, hand_over
from reve_middleware.mark import Hasher, Mark
from reve_middleware.messages import NO_ANSWER
from reve_middleware.visitor import UNSAID, Visit

ADA = {"id": "ada", "name": "Ada"}
BOB = {"id": "bob", "name": "Bob"}
PROFILES: dict[str, Any] = {"nobody": None, "A": ADA, "B": BOB}
WHO = {"nobody": None, "A": "ada", "B": "bob"}
AT = NOW - 1000


def mark_of(profile: dict[str, Any], session: str = "chat-1", *, version: str | None = None, key: str = KEY) -> Mark:
    """The mark of a profile that was handed over a millisecond ago."""
    hasher = Hasher([key])
    return Mark(
        hasher.digest("session", f"bot-1\0{session}"),
        hasher.digest("who", profile["id"]),
        "" if version is None else hasher.digest("version", version),
        hasher.digest("profile", json.dumps(profile, separators=(",", ":"), sort_keys=True).encode()),
        AT,
    )


def asked(
    mark: Mark | None = None, *, capture: bool = False, said: Any = UNSAID, lost: bool = False, **more: Any
) -> Played:
    """One look at one visitor. `profile`, `identity` and `consent` are what the callables return; one that is not
    given is not set. `said`: what `identify()` was called with."""
    answers = {name: more.pop(name) for name in ("profile", "identity", "consent", "offered", "at") if name in more}
    callables = {name: print for name in answers if name not in ("offered", "at")}
    settings = make_settings(**callables, **more)
    visit = Visit()
    visit.profile = said
    memory = make_memory(*[("bot-1", "chat-1")] if lost else [])
    return play(hand_over(settings, memory, make_ids(), mark, visit, NOW, capture=capture), **answers)


MARKS = {
    "none": None,
    "A": mark_of(ADA),
    "B": mark_of(BOB),
    "A of another chat": mark_of(ADA, "chat-2"),
    "A under another key": mark_of(ADA, key=OLD_KEY),
}
# (mark, visitor) -> what a page's response makes of it. All that is not here is "queued".
PAGE = {
    ("A", "A"): "current",
    ("B", "B"): "current",
    ("A", "B"): "another",
    ("B", "A"): "another",
    **{(mark, "nobody"): "anonymous" for mark in MARKS},
}
# A capture is the widget's own report: then the chat is whoever's it is now.
CAPTURE = {**PAGE, ("A", "B"): "queued", ("B", "A"): "queued"}


@pytest.mark.parametrize("way", ["profile", "identity", "version", "identify"])
@pytest.mark.parametrize("visitor", ["nobody", "A", "B"])
@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("capture", [False, True], ids=["page", "capture"])
def test_the_matrix(capture: bool, mark: str, visitor: str, way: str) -> None:
    """Whose mark it is and who is here decide: nobody is left in peace, the same with the same profile is known, a
    stranger to the mark ends the chat on a page and takes it over with a capture, anyone else is handed over."""
    table = CAPTURE if capture else PAGE
    expected = table.get((mark, visitor), "queued")
    profile, who = PROFILES[visitor], WHO[visitor]
    given = MARKS[mark]
    match way:
        case "profile":
            played = asked(given, capture=capture, profile=profile)
            assert played.asked() == ["profile"]
        case "identify":
            played = asked(given, capture=capture, said=profile)
            assert played.asked() == []
        case "identity":
            played = asked(given, capture=capture, identity=who, profile=profile)
            # Who is nobody or another is known without the profile.
            assert played.asked() == (["identity"] if expected in ("anonymous", "another") else ["identity", "profile"])
        case _:
            given = given and given._replace(version=Hasher([KEY]).digest("version", "7"))
            answer = None if who is None else (who, 7)
            played = asked(given, capture=capture, identity=answer, profile=profile)
            assert played.asked() == (["identity", "profile"] if expected == "queued" else ["identity"])
    assert played.returned.status == expected
    assert played.notes() == []
    assert len(played.pushes()) == (expected == "queued")
    if expected == "queued":
        (push,) = played.pushes()
        assert json.loads(push.body) == {"botId": "bot-1", "sessionId": "chat-1", "data": profile}
        assert (push.captured, push.at, push.urgent, push.endpoint) == (NOW, NOW, capture, None)
        fresh = mark_of(profile)._replace(at=NOW, version=played.returned.mark.version)
        assert played.returned.mark == fresh
        assert (push.visitor, push.transition) == (fresh.who, f"0.{fresh.who}.{fresh.profile}")
    elif expected == "current":
        assert played.returned.mark == given
    else:
        assert played.returned.mark is None


# The profile has changed -----------------------------------------------------------------------


def test_the_same_person_with_another_profile_is_pushed() -> None:
    """A changed profile of the same person is pushed, from the mark it had to the mark it gets."""
    moved = {**ADA, "name": "Ada King"}
    played = asked(mark_of(ADA), profile=moved)
    (push,) = played.pushes()
    fresh = mark_of(moved)._replace(at=NOW)
    assert played.returned == Verdict("queued", fresh)
    assert push.transition == f"{AT}.{fresh.who}.{fresh.profile}"
    assert not push.urgent


def test_the_order_of_fields_is_no_change() -> None:
    """A profile whose fields come in another order is the same."""
    played = asked(mark_of(ADA), profile=dict(reversed(ADA.items())))
    assert played.returned._replace(seen=None) == Verdict("current", mark_of(ADA))


def test_what_was_given_up_is_offered_again() -> None:
    """What the sender gave up as too old counts as unmarked, whatever the version says."""
    assert asked(mark_of(ADA), profile=ADA, lost=True).returned.status == "queued"
    known = mark_of(ADA, version="7")
    played = asked(known, identity=("ada", 7), profile=ADA, lost=True)
    assert (played.asked(), played.returned.status) == (["identity", "profile"], "queued")


def test_a_new_version_with_the_same_profile_is_not_pushed() -> None:
    """With another version the profile is computed, and only pushed when it differs itself; the mark learns the
    version."""
    played = asked(mark_of(ADA, version="7"), identity=("ada", 8), profile=ADA)
    assert played.asked() == ["identity", "profile"]
    assert played.pushes() == []
    assert played.returned._replace(seen=None) == Verdict("current", mark_of(ADA, version="8"))
    changed = asked(mark_of(ADA, version="7"), identity=("ada", 8), profile={**ADA, "name": "x"})
    assert len(changed.pushes()) == 1


def test_a_mark_without_a_version_does_not_know_one() -> None:
    """A mark that was made without a version knows none: the profile is computed once more."""
    played = asked(mark_of(ADA), identity=("ada", 7), profile=ADA)
    assert played.asked() == ["identity", "profile"]
    assert played.returned._replace(seen=None) == Verdict("current", mark_of(ADA, version="7"))


def test_a_mark_under_an_older_key_is_known_and_renewed() -> None:
    """A mark under an older key of the list is recognised, and written anew under the newest."""
    old = mark_of(ADA, key=OLD_KEY)
    played = asked(old, profile=ADA, secret_key=[KEY, OLD_KEY])
    assert played.pushes() == []
    assert played.returned._replace(seen=None) == Verdict("current", mark_of(ADA))


def test_ids_of_another_bot_or_chat_do_not_share_a_mark() -> None:
    """The ids are part of the mark as two, so that no other pair of ids reads the same."""
    hasher = Hasher([KEY])
    for session in ("bot-1chat-1", "bot\0-1chat-1", "bot-2\0chat-1"):
        mark = mark_of(ADA)._replace(session=hasher.digest("session", session))
        assert asked(mark, profile=ADA).returned.status == "queued"


# What the mailbox says -------------------------------------------------------------------------


@pytest.mark.parametrize("capture", [False, True])
def test_what_the_mailbox_did_not_take_is_not_marked(capture: bool) -> None:
    """Where the mailbox took nothing, there is no mark, so that the next response offers it again."""
    assert asked(profile=ADA, capture=capture, offered="busy").returned == Verdict("busy")
    assert asked(profile=ADA, capture=capture, offered="signed_out").returned == Verdict("signed_out")


def test_what_another_response_handed_over_already_is_marked_with_its_instant() -> None:
    """Of responses that ran side by side, the second gets the mark of the first, to the microsecond."""
    played = asked(profile=ADA, offered="current", at=NOW - 5)
    assert played.returned._replace(seen=None) == Verdict("current", mark_of(ADA)._replace(at=NOW - 5))


# Whatever goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["none", "A"])
@pytest.mark.parametrize("capture", [False, True])
def test_no_answer_means_nothing_happens(capture: bool, mark: str) -> None:
    """A callable that raised or took too long changes nothing: no push, no mark, the chat is not let go."""
    given = MARKS[mark]
    for answers in ({"profile": NO_ANSWER}, {"identity": NO_ANSWER, "profile": ADA}, {}, {"identity": "ada"}):
        played = asked(given, capture=capture, **answers)
        assert played.returned == Verdict("unknown")
        assert played.pushes() == []


def test_identify_beats_a_failing_identity() -> None:
    """What a view said counts, though `identity=` fails or knows nobody: then the profile says who it is."""
    for answer in (NO_ANSWER, None):
        played = asked(identity=answer, said=ADA)
        assert played.returned == Verdict("queued", mark_of(ADA)._replace(at=NOW))
    assert asked(identity=NO_ANSWER, said=None).returned == Verdict("unknown")
    assert asked(identity=None, said=None).returned == Verdict("anonymous")
    assert asked(identity="ada", said=None).returned == Verdict("anonymous")


def test_identify_wins_over_profile() -> None:
    """`identify()` wins: `profile=` is not even asked."""
    played = asked(profile=BOB, said=ADA)
    assert played.asked() == []
    assert json.loads(played.pushes()[0].body)["data"] == ADA


@pytest.mark.parametrize(
    ("profile", "note"),
    [
        ([], ("profile", no_dict("list"))),
        ({"id": 1, "x": {1, 2}}, ("profile", no_json("'x'", "set", "write sorted(…)"))),
        ({"id": 1, "x": "y" * 20_000}, ("profile", "the profile has 20015 bytes of JSON, more than 16384; the largest "
         "field is 'x'")),
        ({"name": "Ada"}, ("no_identity", "")),
        ({}, ("no_identity", "")),
        ({"id": None, "email": "", "phone": True}, ("no_identity", "")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mark", ["none", "A"])
def test_a_profile_that_cannot_be_sent_is_told_once_and_changes_nothing(
    mark: str, profile: Any, note: tuple[str, str]
) -> None:
    """A profile that is no JSON, too large, or says not who it is about is one note, and nothing happens."""
    for played in (asked(MARKS[mark], profile=profile), asked(MARKS[mark], said=profile)):
        assert (played.returned, played.notes(), played.pushes()) == (Verdict("unknown"), [note], [])


def test_a_payload_that_fails_changes_nothing() -> None:
    """A `payload` callable that raises is one note; nothing is pushed or marked."""

    def payload(chatbot_id: str, session_id: str, profile: dict[str, Any]) -> Any:
        raise KeyError(session_id)

    played = asked(profile=ADA, payload=payload)
    assert (played.returned, played.notes()) == (Verdict("unknown"), [("profile", "payload= failed with KeyError")])


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        ((1, 2, 3), "identity= returned a tuple of 3, not (who, version)"),
        ((), "identity= returned a tuple of 0, not (who, version)"),
        (True, "identity= returned a bool as who; return text or a number, or (who, version)"),
        ("", "identity= returned a str as who; return text or a number, or (who, version)"),
        ([1], "identity= returned a list as who; return text or a number, or (who, version)"),
        (("ada", [1]), "identity= returned a list as version; return text, a number or a date"),
        (("ada", object()), "identity= returned a object as version; return text, a number or a date"),
    ],
)
def test_rubbish_from_identity_is_told_without_its_value(answer: Any, note: str) -> None:
    """What `identity=` must not return is one note that names the type and never the value."""
    for said in (UNSAID, ADA):
        played = asked(mark_of(ADA), identity=answer, profile=ADA, said=said)
        assert (played.returned, played.notes()) == (Verdict("unknown"), [("identity", note)])


# Consent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("no", [False, None, 0, "", []])
@pytest.mark.parametrize("capture", [False, True])
def test_without_a_yes_nothing_is_asked(capture: bool, no: Any) -> None:
    """Without a yes the visitor is not even asked about, and nothing is pushed."""
    played = asked(mark_of(ADA), capture=capture, consent=no, identity="ada", profile=ADA, said=ADA)
    assert (played.asked(), played.pushes(), played.returned) == (["consent"], [], Verdict("declined"))


def test_a_consent_that_fails_is_a_no_for_capture_and_nothing_for_a_page() -> None:
    """A `consent` callable that fails captures nothing; a chat that is there is not ended for it, nor pushed to."""
    assert asked(consent=NO_ANSWER, profile=ADA, capture=True).returned == Verdict("undecided")
    assert asked(consent=NO_ANSWER, profile=ADA).returned == Verdict("undecided")


def test_with_a_yes_it_goes_on() -> None:
    """With a yes, who and what are asked, in this order."""
    played = asked(consent=True, identity="ada", profile=ADA)
    assert (played.asked(), played.returned.status) == (["consent", "identity", "profile"], "queued")
