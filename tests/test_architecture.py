"""How the house is built, read from the source (ARCHITECTURE.md)."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import reve_middleware
from reve_middleware.notes import TEXTS

HOUSE = Path(reve_middleware.__file__).parent
WINGS = ("check", "cli")
"""Packages within the package whose files are rooms too, such as `cli.push`."""
FILES = {
    ".".join(path.relative_to(HOUSE).with_suffix("").parts): path
    for path in sorted([*HOUSE.glob("*.py"), *(path for wing in WINGS for path in (HOUSE / wing).glob("*.py"))])
}
TREES = {room: ast.parse(path.read_text()) for room, path in FILES.items()}
SANDBOX = {path: ast.parse(path.read_text()) for path in sorted((HOUSE / "sandbox").rglob("*.py"))}

# What each room may import of ours. What is imported for types alone does not count.
MAY_IMPORT: dict[str, set[str]] = {
    # The bottom: nothing of ours.
    "arguments": set(),
    "clock": set(),
    "concurrency": set(),
    "csp": set(),
    "outcome": set(),
    "cures": {"outcome"},
    "errors": set(),
    "gate": set(),
    "hints": set(),
    "mark": set(),
    "messages": set(),
    "notes": set(),
    "server": set(),
    "threads": {"concurrency"},
    "visitor": set(),
    "wire": set(),
    # The core: values in, values out.
    "bridge": {"messages"},
    "capture": {"bridge", "messages"},
    "cookie": {"mark"},
    "inject": {"messages"},
    "push": {"errors"},
    "routes": {"visitor"},
    "bot": {"arguments", "errors"},
    "settings": {"bot", "cookie", "errors", "mark", "push", "routes"},
    "handover": {"cookie", "errors", "mark", "messages", "push", "settings", "visitor"},
    "exchange": {
        "bot", "bridge", "capture", "cookie", "csp", "errors", "handover", "inject", "messages", "quiet", "routes",
        "settings", "visitor",
    },
    "quiet": {"cookie", "mark", "messages", "push", "visitor"},
    # Delivery.
    "recollection": {"messages", "push"},
    "mailbox": {"messages", "push", "recollection"},
    "tables": {"push", "recollection"},
    "intake": {"mailbox", "messages", "push", "recollection", "tables"},
    "ledger": {"intake", "mailbox", "messages", "push", "recollection", "tables"},
    "database": {"ledger"},
    "writer": {"concurrency", "database", "intake", "ledger", "mailbox"},
    "outbox": {"database", "intake", "ledger", "mailbox", "messages", "push", "recollection", "writer"},
    "bearer": {"bot", "hints", "threads"},
    "metrics": {"errors"},
    "webhook": {"bot", "outcome", "wire"},
    "delivery": {"bearer", "cures", "gate", "mailbox", "notes", "outcome", "push", "settings", "threads", "webhook"},
    "sender": {
        "clock", "concurrency", "delivery", "gate", "mailbox", "messages", "notes", "outbox", "push", "settings",
        "threads",
        "webhook",
    },
    "settling": {"clock", "sender"},
    "handoff": {"asking", "concurrency", "errors", "messages", "notes", "push", "recollection", "threads"},
    "worker": {"bearer", "bot", "errors", "gate", "outcome", "push", "recollection", "settings", "threads", "webhook"},
    # The shells.
    "asking": {"concurrency", "hints", "messages", "notes", "threads"},
    "application": {"arguments", "asking", "errors"},
    "shell": {
        "application", "asking", "errors", "exchange", "handoff", "handover", "inject", "messages", "notes", "sender",
        "server", "settings",
    },
    "scope": {"inject", "messages"},
    "asgi": {
        "asgi_response", "bridge", "capture", "concurrency", "messages", "quiet", "routes", "scope", "shell", "visitor",
    },
    "asgi_response": {"concurrency", "exchange", "inject", "messages", "quiet", "routes", "scope", "shell", "visitor"},
    "environ": {"inject", "messages"},
    "wsgi": {"bridge", "capture", "environ", "messages", "quiet", "shell", "visitor", "wsgi_response"},
    "wsgi_response": {"environ", "exchange", "inject", "messages", "quiet", "routes", "shell", "visitor"},
    "django_objects": {"environ", "inject", "messages", "notes", "scope"},
    "django_settings": {"arguments", "asking", "bot", "errors", "settings"},
    "django_shell": {
        "bridge", "capture", "concurrency", "django_objects", "django_settings", "inject", "messages", "shell",
        "visitor",
    },
    "django": {"django_settings", "django_shell", "errors", "shell", "visitor"},
    # The front door, and what is outside of it.
    "__init__": {"asgi", "bot", "errors", "handoff", "routes", "visitor", "worker", "wsgi"},
    # The test kit reads no secrets of the middleware; but only the senders know when everything is sent.
    "testing": {"sandbox", "testing_standin", "testing_visitor"},
    "testing_standin": {"sandbox", "sender", "settling", "testing_clients", "testing_visitor"},
    "testing_visitor": {"testing_clients"},
    "testing_clients": set(),
    "cli.basics": set(),
    "cli.site": {"__init__", "cli.basics", "sandbox"},
    "cli.options": {"errors", "settings"},
    "cli.explain": set(),
    "cli.demo": {"cli.options", "cli.site"},
    "cli.outbox": {"cli.basics", "cli.options", "database", "errors", "ledger", "sender", "settings"},
    "cli.push": {"bot", "cli.basics", "cli.explain", "cli.options", "push", "settings", "worker"},
    "cli.sandbox": {"bot", "cli.basics", "cli.options", "sandbox"},
    "cli.snippet": {"bot", "cli.basics", "cli.options", "push"},
    "cli.group": {
        "__init__", "check.command", "cli.basics", "cli.demo", "cli.options", "cli.outbox", "cli.push", "cli.sandbox",
        "cli.snippet",
    },
    "cli.__init__": {"cli.basics", "cli.group", "cli.site"},
    # `check` looks from outside; of the core it takes what decides, to say the same.
    "check.__init__": set(),
    "check.finding": set(),
    "check.markup": set(),
    "check.response": {"messages"},
    "check.tag": {"check.finding", "check.markup", "check.response"},
    "check.page": {"check.finding", "check.response", "check.tag", "csp", "inject", "messages"},
    "check.widget": {"check.finding", "check.page", "check.tag"},
    "check.policy": {"check.finding", "check.markup", "check.page", "check.response", "check.tag", "csp"},
    "check.script": {"bridge", "check.finding", "check.page", "check.response"},
    "check.caching": {"bot", "check.finding", "check.page", "check.response"},
    "check.refusals": {"capture", "check.finding", "check.response"},
    "check.cookies": {"check.finding", "check.refusals", "check.response"},
    "check.link": {"check.finding", "outcome"},
    "check.browser": {
        "__init__", "capture", "check.caching", "check.cookies", "check.finding", "check.response", "outcome",
        "webhook",
    },
    "check.look": {
        "bot", "bridge", "capture", "check.browser", "check.caching", "check.cookies", "check.finding", "check.link",
        "check.page", "check.policy", "check.refusals", "check.response", "check.script", "check.tag", "check.widget",
        "push", "webhook",
    },
    "check.report": {"check.finding"},
    "check.command": {"bot", "check.look", "check.report", "check.response", "errors"},
}  # fmt: skip

PURE = (
    "bridge", "capture", "cookie", "csp", "cures", "errors", "exchange", "gate", "handover", "hints", "inject", "mark",
    "messages", "outcome", "push", "recollection", "routes", "settings", "visitor", "check.caching", "check.cookies",
    "check.finding",
    "check.link", "check.markup", "check.page", "check.policy", "check.refusals", "check.response", "check.script",
    "check.tag",
)  # fmt: skip
NOT_PURE = {"asyncio", "threading", "logging", "socket", "time", "random", "secrets", "queue", "select", "sqlite3"}

DOORS = {
    "itsdangerous": {"cookie"},
    "httpx": {"webhook", "check.browser"},
    "h11": {"webhook"},  # what httpx speaks HTTP with, and brings
    "sqlite3": {"database"},
    "starlette": {
        "asgi_response",
        "environ",
        "visitor",
        "cli.site",
    },  # the demo's site is an application like any other
}
FOREIGN = {"itsdangerous", "httpx", "h11", "starlette"}
EXTRAS = {
    "metrics": {"opentelemetry", "prometheus_client"},
    "testing": {"pytest"},
    "check.command": {"click"},
    "check.report": {"click"},
    **{room: {"asgiref", "django"} for room in ("django", "django_objects", "django_settings")},
    # Not __init__, basics and site: without Click the command says what to install, and the demo's site runs.
    **{f"cli.{room}": {"click"} for room in ("demo", "group", "options", "outbox", "push", "sandbox", "snippet")},
}

LONGEST = 330
"""Lines of a file."""
LONGER = {"delivery": 376}
"""Files that are longer already, and may not become longer still."""


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each import anywhere in a file, as its level (dots) and its name."""
    for node in ast.iter_child_nodes(tree):
        if is_for_types(node):
            continue
        match node:
            case ast.Import(names):
                yield from ((0, alias.name) for alias in names)
            case ast.ImportFrom(module, names, level):
                yield from ((level, f"{module}.{alias.name}" if module else alias.name) for alias in names)
        yield from imports(node)


def own(room: str) -> set[str]:
    """The rooms that a room imports."""
    wing = [room.split(".")[0]] if room.split(".")[0] in WINGS else []
    found = set()
    for level, name in imports(TREES[room]):
        top, *parts = name.split(".")
        if level:
            parts = [*wing[: len(wing) + 1 - level], top, *parts]
        elif top != "reve_middleware":
            continue
        names = [".".join(parts[:2]), *parts[:1], ".".join([*parts[:1], "__init__"])]
        found.add(next((name for name in names if name in TREES or name == "sandbox"), "__init__"))
    return found


def foreign(tree: ast.AST) -> set[str]:
    """The top-level names of what a file imports from elsewhere."""
    return {name.split(".")[0] for level, name in imports(tree) if level == 0} - {"reve_middleware"}


@pytest.mark.parametrize("room", TREES)
def test_imports_point_one_way(room: str) -> None:
    """Each room imports no other of ours than the table allows."""
    assert own(room) - MAY_IMPORT[room] == set()


def test_an_import_is_told_from_another() -> None:
    """What the table is held against: a neighbour in a wing, a room by its full name, the front door, the sandbox."""
    assert own("cli.__init__") == {"cli.basics", "cli.group", "cli.site"}
    assert own("cli.push") >= {"bot", "cli.basics", "cli.explain", "push", "worker"}
    assert own("cli.site") == {"__init__", "cli.basics", "sandbox"}
    assert own("shell") >= {"exchange", "sender"}


def test_the_table_has_every_room_and_no_circle() -> None:
    """The table names every room there is and no other, and nothing in it goes round in a circle."""
    assert set(MAY_IMPORT) == set(TREES)
    order = list(TopologicalSorter(MAY_IMPORT).static_order())
    assert order.index("settings") < order.index("exchange") < order.index("shell") < order.index("__init__")


@pytest.mark.parametrize("room", TREES)
def test_one_door_to_each_outside_thing(room: str) -> None:
    """Each outside thing has its one door: itsdangerous in cookie.py, httpx in webhook.py (and in check, which is
    outside of the core), sqlite3 in database.py, Starlette in the shells; there is no other dependency."""
    used = foreign(TREES[room])
    for thing, doors in DOORS.items():
        assert thing not in used or room in doors
    assert used - FOREIGN - EXTRAS.get(room, set()) <= set(sys.stdlib_module_names)


def test_of_starlette_the_requests_alone() -> None:
    """Outside of the sandbox nothing of Starlette is used but its requests."""
    names = {name for tree in TREES.values() for level, name in imports(tree) if level == 0}
    assert {name for name in names if name.startswith("starlette")} == {"starlette.requests.Request"}


@pytest.mark.parametrize("room", PURE)
def test_what_decides_is_pure(room: str) -> None:
    """What decides has no socket, thread, event loop, clock, randomness or log in it."""
    assert foreign(TREES[room]) & NOT_PURE == set()
    calls = [node.func for node in ast.walk(TREES[room]) if isinstance(node, ast.Call)]
    assert {call.attr for call in calls if isinstance(call, ast.Attribute)} & {
        "now",
        "today",
        "utcnow",
        "time",
    } == set()
    waits = any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(TREES[room]))
    assert waits is (room == "routes"), "only a decorated view is awaited"


def test_the_mailbox_has_a_lock_and_no_clock() -> None:
    """The mailbox shares one lock among threads, and is told the time."""
    assert foreign(TREES["mailbox"]) & NOT_PURE == {"threading"}
    used = [node for node in ast.walk(TREES["mailbox"]) if isinstance(node, ast.Attribute)]
    assert {node.attr for node in used if isinstance(node.value, ast.Name) and node.value.id == "threading"} == {"Lock"}


@pytest.mark.parametrize("path", SANDBOX, ids=[path.stem for path in SANDBOX])
def test_the_sandbox_knows_nothing_of_the_middleware(path: Path) -> None:
    """The stand-in for REVE is wrong in its own ways, not in ours: it imports nothing of the middleware."""
    depth = len(path.relative_to(HOUSE / "sandbox").parts)
    for level, name in imports(SANDBOX[path]):
        assert level <= depth
        assert level > 0 or name.split(".")[0] != "reve_middleware" or name.startswith("reve_middleware.sandbox")


@pytest.mark.parametrize("room", TREES)
def test_files_can_be_read_in_one_go(room: str) -> None:
    """A file has at most about 300 lines, says at its top what it is, and its functions fit a screen."""
    lines = len(FILES[room].read_text().splitlines())
    assert lines <= LONGER.get(room, LONGEST)
    assert room not in LONGER or lines > LONGEST, "it is short again: take it out of LONGER"
    assert ast.get_docstring(TREES[room])
    for node in ast.walk(TREES[room]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 80, node.name


def test_importing_us_does_not_import_the_http_client() -> None:
    """`import reve_middleware` brings neither httpx nor SQLite nor a server: those come when they are needed."""
    program = "import sys, reve_middleware; print(*sorted({'httpx', 'uvicorn', 'waitress'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=HOUSE.parent)
    assert ran.stdout.strip() == ""


# Public names ----------------------------------------------------------------------------------


def test_all_names_what_is_public() -> None:
    """`__all__` is explicit, sorted, and names exactly what can be imported from here."""
    public = {
        name
        for name, value in vars(reve_middleware).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    assert public | {"__version__"} == set(reve_middleware.__all__)
    assert reve_middleware.__all__ == sorted(reve_middleware.__all__)


@pytest.mark.parametrize("name", [name for name in reve_middleware.__all__ if name != "__version__"])
def test_every_public_thing_has_a_docstring(name: str) -> None:
    """Every public thing, and every public method of it, says what it does."""
    thing = getattr(reve_middleware, name)
    assert thing.__module__.startswith("reve_middleware.")
    assert vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__, name
    if inspect.isclass(thing):
        for member in dir(thing):
            value = getattr(thing, member)
            ours = inspect.isfunction(value) and value.__module__.startswith("reve_middleware.")
            if ours and not member.startswith("_"):
                assert value.__doc__, f"{name}.{member}"


# Notes -----------------------------------------------------------------------------------------


def codes(tree: ast.AST) -> Iterator[str]:
    """The codes with which a file makes a `Note`, or says one."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name("Note") | ast.Attribute(attr="say"), [ast.Constant(str() as code), *_]):
                yield code
            case ast.Call(ast.Name("Note") | ast.Attribute(attr="say")):
                assert ast.unparse(node) == "self._notes.say(code, detail)", "a code must stand where it is used"


def test_every_note_has_its_text_and_every_text_its_use() -> None:
    """Every code of a note has its text, and every text is used."""
    assert {code for tree in TREES.values() for code in codes(tree)} == set(TEXTS)


def test_nothing_is_logged_with_a_traceback() -> None:
    """A traceback shows lines and values that are not ours to show: no log call takes one along."""
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr != "exception" or ast.unparse(node.func.value) not in ("log", "logger", "logging")
                if ast.unparse(node.func).startswith(("log.", "logger.", "logging.")):
                    assert not {"exc_info", "stack_info"} & {keyword.arg for keyword in node.keywords}
