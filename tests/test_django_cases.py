"""The shared cases of the flow and of pages, through the Django adapter, in Django's own handlers.

The tests of the flow run here with another `shell`; what they promise stands where they are written.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import test_flow
import test_flow_cookies
import test_flow_harm
import test_flow_late
import test_flow_look_up
import test_flow_routes
import test_flow_sign_out
import test_flow_who
from django.http import HttpResponse, StreamingHttpResponse
from django_world import OURS, Kind, as_starlette, stream_async
from drive import HOST, Call, Clock
from shop import Shop
from test_table import TABLE, Line, chat_cookie, profile

OF_THE_CORE_ALONE = {
    "test_a_profile_that_cannot_be_sent_is_an_error_in_the_log",
    "test_identify_with_rubbish_never_raises",
    "test_a_cookie_that_is_not_genuine_is_no_cookie",
    "test_a_callable_that_raises_costs_the_visitor_nothing",
    "test_routes_are_globs_on_the_path_inside_the_mount",
}
"""Long tables that the shells' own runs have shown already."""
FLOWS = (
    test_flow,
    test_flow_cookies,
    test_flow_harm,
    test_flow_late,
    test_flow_look_up,
    test_flow_routes,
    test_flow_sign_out,
    test_flow_who,
)


@pytest.fixture(params=["django-asgi", "django-wsgi"])
def shell(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Each test runs in Django's handler for ASGI and in the one for WSGI."""
    kind = Kind(request.param)
    yield kind
    kind.close()


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


for flow in FLOWS:
    tests = {name: value for name, value in vars(flow).items() if name.startswith("test_")}
    globals().update({name: value for name, value in tests.items() if name not in OF_THE_CORE_ALONE})


# The table of pages ----------------------------------------------------------------------------


def response_of(line: Line, headers: dict[str, str], form: str, kind: Kind) -> Any:
    """The line as Django's views make it."""
    chunks = [chunk.replace(b"@", b"") for chunk in line.chunks]
    if form == "whole":
        response: Any = HttpResponse(b"".join(chunks), status=line.status)
    else:
        given = stream_async(chunks[0], iter(chunks[1:])) if kind.under_asgi else iter(chunks)
        response = StreamingHttpResponse(given, status=line.status)
    del response["Content-Type"]
    for name, value in headers.items():
        response[name] = value
    return response


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("line", TABLE, ids=[line.name for line in TABLE])
def test_the_same_bytes_come_out_of_django(shell: Kind, line: Line) -> None:
    """A page gets the tag behind its head and nothing else; what is no page leaves as it came: whole, with its length
    and for a visitor who is known, under WSGI; streamed, without one and for a stranger, under ASGI."""
    form = "streamed" if shell.under_asgi else "whole"
    known = form == "whole"
    headers = {"Content-Type": "text/html; charset=utf-8", "X-Other": "1", **line.headers}
    headers = {name: value for name, value in headers.items() if value}
    expected = {name.lower(): value for name, value in headers.items()} | line.changed
    body = b"".join(chunk.replace(b"@", line.tag) for chunk in line.chunks)
    if line.lengths[0 if known else -1]:
        headers["Content-Length"] = str(len(b"".join(line.chunks).replace(b"@", b"")))
        expected["content-length"] = str(len(body))
    site = shell.site_of(lambda request: response_of(line, headers, form, shell), [OURS], as_starlette, profile=profile)
    cookies = f"{chat_cookie()}; user=ada" if known else "a=b"
    reply = shell.call(site, Call(line.method, "/", {"Host": HOST, "Cookie": cookies, **line.asked}.items()))
    assert (reply.status, reply.body) == (line.status, body)
    if form == "streamed" and line.told:
        assert [chunk for chunk in reply.chunks if chunk] == [chunk for chunk in line.chunks if chunk]
    got = dict(reply.headers)
    if known and line.marked:
        assert got.pop("set-cookie").startswith("__Host-reve-mark=")
        assert "private" in got.pop("cache-control")
        expected.pop("cache-control", None)
    assert got == expected
