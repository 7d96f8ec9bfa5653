"""The program tests/benchmarks/security.py, and the figures of it that are quick."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import security_figures
from figures import Row
from security_fire import Shot

PROGRAM = Path(__file__).resolve().parent / "benchmarks" / "security.py"


@pytest.fixture
def program() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("program_security", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_refused_row_is_counted() -> None:
    """Every row of the origin tables that is refused, bare and behind a CORS layer, through both shells."""
    (row,) = security_figures.origin()
    assert row.holds
    assert int(row.fault.split()[0]) > 400
    assert row.measured == "0 accepted, 0 cookies, 0 pushes"


def test_shots_are_counted() -> None:
    """So many shots through each shell, by status."""
    rows = security_figures.shots("bytes", 20)
    assert [row.fault for row in rows] == ["random bytes, asgi", "random bytes, wsgi"]
    assert all(row.holds and row.measured.startswith("20 requests: ") for row in rows)


@pytest.mark.parametrize(
    ("framing", "end"),
    [
        ("length", b"Connection: close\r\nContent-Length: 4\r\n\r\nabcd"),
        ("chunks", b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n3\r\nbcd\r\n0\r\n\r\n"),
        ("odd sizes", b"Transfer-Encoding: chunked\r\n\r\n01;a=b\r\na\r\n03;a=b\r\nbcd\r\n0\r\n\r\n"),
        ("too short", b"Content-Length: 2\r\n\r\nabcd"),
        ("breaks off", b"Content-Length: 4\r\n\r\nab"),
        ("none", b"Connection: close\r\n\r\nabcd"),
    ],
)
def test_a_shot_on_the_wire(framing: str, end: bytes) -> None:
    """A request as bytes, framed as asked for, well or badly."""
    sent = security_figures.raw(Shot(headers=[(b"x", b"y")], body=b"abcd", cuts=[1, 9]), framing)
    assert sent.startswith(b"POST /_reve/session HTTP/1.1\r\nx: y\r\nOrigin: https://shop.example\r\n")
    assert sent.endswith(end)


def test_the_program_names_its_figures(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """--list prints the names; a word that is in none of them is refused with all of them."""
    assert program.main(["--list", "--only", "slow", "origin"]) == 0
    assert capsys.readouterr().out == "origin\nslow_uvicorn_h11\nslow_uvicorn_httptools\nslow_hypercorn\n"
    with pytest.raises(SystemExit) as ended:
        program.main(["--only", "nonsense"])
    assert ended.value.code == 2
    assert "error: no figure is called like that; there are origin, underscores, bytes," in capsys.readouterr().err


def test_the_program_fails_where_a_figure_does(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """A figure that does not hold is a NO, and exit status 1; the others are printed all the same."""
    program.FIGURES = {
        "one": lambda: [Row("an attack", "0 accepted", "1", False)],
        "two": lambda: [Row("another", "0 accepted", "0", True)],
    }
    assert program.main([]) == 1
    assert capsys.readouterr().out == "an attack: 0 accepted: 1: NO\nanother: 0 accepted: 0: yes\n"
    assert program.main(["--only", "two"]) == 0
