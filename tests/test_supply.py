"""What a site installs, and what CI installs. Each docstring is a promise."""

import base64
import csv
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import reve_middleware

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = [ROOT / "tests" / name for name in ("constraints.txt", "constraints-lowest.txt")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALLED = ("demo", "test")
"""The extras that CI installs."""
MADE_FROM = ("reve_middleware", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore")
KINDS = {".py", ".js", ".css", ".html", ".typed"}
"""Of files that a site needs."""


def pins(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


@pytest.mark.parametrize("path", CONSTRAINTS, ids=lambda path: path.name)
def test_constraints_are_names_and_versions(path: Path) -> None:
    """The constraint files hold a name and a version on each line, each name once: no address, no option, no file."""
    lines = path.read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line)] == []
    assert len(pins(path)) == len(lines)


def needed(lines: list[str]) -> Iterator[str]:
    """All packages that these requirements bring, as installed here."""
    waiting = [Requirement(line) for line in lines]
    seen: set[tuple[str, str]] = set()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        for extra in ("", *one.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            requires = importlib.metadata.requires(name) or []
            waiting += [
                more
                for more in map(Requirement, requires)
                if more.marker is None or more.marker.evaluate({"extra": extra})
            ]
    yield from {name for name, _ in seen}


def test_ci_is_pinned() -> None:
    """Whatever the tests install, and whatever that brings along, has its version in the constraint files; CI and the
    README's command use them."""
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in INSTALLED for line in extras[extra])]
    here = [line for line in lines if (marker := Requirement(line).marker) is None or marker.evaluate()]
    everything = {*needed(here)}
    assert {"starlette", "httpx", "itsdangerous", "h11", "pytest"} <= everything
    for path in CONSTRAINTS:
        assert sorted(everything - {*pins(path)}) == [], path.name
    docs = {canonicalize_name(Requirement(line).name) for line in extras["docs"]}  # what they bring, .ci/run looks at
    assert sorted(docs - {*pins(CONSTRAINTS[0])}) == []
    extra = f"'.[{','.join(INSTALLED)}]'"
    assert f"-e {extra} -c tests/constraints.txt" in (ROOT / "README.md").read_text()
    run = (ROOT / ".ci" / "run").read_text()
    assert f"-e {extra} -c tests/constraints-lowest.txt" in run
    assert "-e '.[docs]' -c tests/constraints.txt" in run
    assert re.findall(r"index-url|find-links|trusted-host", run) == []


def test_what_a_site_gets() -> None:
    """A site gets Starlette, httpx and itsdangerous, and no more."""
    assert [Requirement(line).name for line in PROJECT["dependencies"]] == ["starlette", "httpx", "itsdangerous"]
    assert {*needed(PROJECT["dependencies"])} - {"typing-extensions"} == {
        "starlette", "httpx", "itsdangerous", "anyio", "certifi", "h11", "httpcore", "idna",
    }  # fmt: skip


# The wheel -------------------------------------------------------------------------------------


def copy_of_the_source(folder: Path, age: int) -> Path:
    """The source somewhere else, checked out at another time, with what a developer leaves lying about."""
    for name in MADE_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "reve_middleware" / "__pycache__").mkdir()
    (folder / "reve_middleware" / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"x")
    for path in folder.rglob("*"):
        os.utime(path, (age, age))
        path.chmod(0o755 if path.is_dir() else (0o600, 0o664)[age % 2])
    return folder


def build(source: Path, kind: str = "wheel") -> Path:
    """The file that hatchling makes. Half the seconds of a build are Python's start."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(source / "dist")]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    ran = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{ran.stderr}\n(hatchling is in the extra `test`)"
    (made,) = (source / "dist").glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(copy_of_the_source(tmp_path_factory.mktemp("one") / "source", 1_000_000_000))


def test_the_wheel_is_reproducible(wheel: Path, tmp_path: Path) -> None:
    """Built at another time, in another folder, with other file modes, the wheel is the same to the last byte; and so
    it is from the source distribution."""
    other = build(copy_of_the_source(tmp_path / "elsewhere", 1_500_000_001))
    assert other.name == wheel.name
    assert other.read_bytes() == wheel.read_bytes()
    sdist = build(tmp_path / "elsewhere", "sdist")
    shutil.unpack_archive(sdist, tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert build(unpacked).read_bytes() == wheel.read_bytes()


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """The wheel holds every file of the package, its metadata and its licence: no test, no example, no cache, nothing
    of a developer's; every file with the hash that RECORD says."""
    version = reve_middleware.__version__
    about = f"reve_middleware-{version}.dist-info"
    folder = ROOT / "reve_middleware"
    files = {
        path.relative_to(ROOT).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {Path(name).suffix for name in files} == KINDS, "a kind of file that no site needs"
    expected = files | {
        f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert len(names) == len(expected)
        assert {*names} == expected
        assert {info.external_attr >> 16 & 0o7777 for info in archive.infolist()} == {0o644}
        for name, digest, _ in csv.reader(archive.read(f"{about}/RECORD").decode().splitlines()):
            found = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest()).decode().rstrip("=")
            assert digest in (f"sha256={found}", "" if name.endswith("/RECORD") else None)
        for name in files:
            assert archive.read(name) == (ROOT / name).read_bytes()
        metadata = Parser().parsestr(archive.read(f"{about}/METADATA").decode())
    assert (metadata["Name"], metadata["Version"]) == ("reve-middleware", version)
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    assert [one.url for one in required if one.url] == [], "no package from an address"
    assert sorted(one.name for one in required if one.marker is None) == ["httpx", "itsdangerous", "starlette"]


# The threat model ------------------------------------------------------------------------------


def test_the_threat_model_names_tests_that_there_are() -> None:
    """Every test, function and program that the page on security names is there."""
    text = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"\b((?:tests/)?(?:benchmarks/)?\w+\.py)(?:::(\w+))?", text)
    assert len(named) > 25
    for file, function in named:
        path = ROOT / "tests" / file.removeprefix("tests/")
        assert path.is_file(), file
        assert f"def {function}(" in path.read_text() or not function, function


# What is in the repository ---------------------------------------------------------------------

SHIPPED = ("reve_middleware", "examples", "docs", ".ci", "README.md", "pyproject.toml", "CHANGELOG.md")
NOT_SHIPPED = {
    "a registry's address": r"(?:index-url|pypi\.org|pythonhosted|registry\.npmjs|artifactory|nexus\.)",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a token of a known kind": r"\b(?:ghp_|github_pat_|glpat-|xox[abp]-|sk_live_|AKIA|AIza)[A-Za-z0-9_-]{8,}",
    "somebody's folder": r"/(?:home|Users|root|work)/[a-z]",
}


@pytest.mark.parametrize(("what", "pattern"), NOT_SHIPPED.items(), ids=NOT_SHIPPED)
def test_nothing_of_anybodys_is_in_it(what: str, pattern: str) -> None:
    """No registry's address, key, token or folder of a developer's stands in what is published."""
    files = [
        file for name in SHIPPED for path in [ROOT / name] for file in ([path] if path.is_file() else path.rglob("*"))
    ]
    texts = {
        file: file.read_bytes().decode("utf-8", "ignore")
        for file in files
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert len(texts) > 60
    assert [(file.name, found) for file, text in texts.items() for found in re.findall(pattern, text)] == [], what
