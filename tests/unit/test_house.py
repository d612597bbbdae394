"""What every room of the house keeps to (design.md §2 and §8): imports go one way, and files and functions
stay readable."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from aoray import errors
from aoray.errors import AorayError, body_of, status_of

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aoray"
OURS = sorted(PACKAGE.rglob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py"))
OURS += sorted((ROOT / "examples").rglob("*.py"))
FILE_LINES_MAX = 400
LONGER_LINES_MAX = 600
LONGER = {  # the cores of their rooms
    "aoray/actors/actor.py",
    "aoray/actors/evaluation.py",
    "aoray/actors/results.py",
    "aoray/scheduler/shard.py",
    "aoray/wasm/pages.py",
}
FUNCTION_LINES_MAX = 60

FLOORS = [
    {
        "errors",
        "limits",
        "lags",
        "metrics",
        "testing",
        "wording",
        "bounded",
        "sql",
        "balance",
        "shares",
        "__init__",
    },
    {"durable", "settings", "rates", "bodies", "fair", "logs", "tasks", "threads", "wire"},
    {"calls", "batcher", "turns", "files", "postgres", "nodes"},
    {"protocol"},
    {"keyfiles", "wasm", "arweave", "modules", "verify"},
    {"scheduler", "actors"},
    {"gateway", "judging", "listing", "succession", "unit_keys"},
    {"client", "drawing", "words", "ray_environment", "preflight", "published"},
    {"crew"},
    {"runtime", "replay"},
    {"audit", "demo"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
"""From the bottom up. A room may import what is below it, itself, and nothing beside or above it."""
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
BESIDE = {
    # The scheduler and the actors stand on one floor: the shard places processes, makes actors of their own
    # for those that ask, and fences their results; the process actor reads the log.
    ("scheduler", "actors"): {"actor", "placement", "results", "postgres_results"},
    ("actors", "scheduler"): {"reader", "log", "rules", "stores"},
}
NOT_IN_PROTOCOL = {
    "asyncio",
    "fastapi",
    "httpx",
    "os",
    "pathlib",
    "random",
    "ray",
    "secrets",
    "socket",
    "sqlite3",
}
NOT_IN_PROTOCOL |= {"starlette", "subprocess", "threading", "time", "wasmtime", "datetime", "logging"}
NO_NETWORK_IN_WASM = {"asyncio", "fastapi", "httpx", "ray", "socket", "starlette", "urllib"}


def room_of(file: Path) -> str:
    """The room a file of the package is in: its first folder, or its own name."""
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(file: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it, but not what is for the type checker alone."""
    tree = ast.parse(file.read_text())
    ignored = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def named(files: list[Path]) -> list[object]:
    return [pytest.param(file, id=str(file.relative_to(ROOT))) for file in files]


@pytest.mark.parametrize("file", named(sorted(PACKAGE.rglob("*.py"))))
def test_imports_go_down_the_house(file: Path) -> None:
    room = room_of(file)
    for name in imports_of(file):
        top, other, within = [*name.split("."), "", ""][:3]
        if top == "aoray" and other in FLOOR_OF and other != room:
            beside = within in BESIDE.get((room, other), ())
            assert beside or FLOOR_OF[other] < FLOOR_OF[room], f"{room} imports {name}"


def test_every_room_has_its_floor() -> None:
    assert {room_of(file) for file in PACKAGE.rglob("*.py")} <= FLOOR_OF.keys()


def test_the_protocol_is_pure() -> None:
    for file in (PACKAGE / "protocol").rglob("*.py"):
        found = {name.partition(".")[0] for name in imports_of(file)} & NOT_IN_PROTOCOL
        assert not found, f"{file.name} imports {found}"


def test_the_engine_knows_no_network_and_no_ray() -> None:
    for file in (PACKAGE / "wasm").rglob("*.py"):
        found = {name.partition(".")[0] for name in imports_of(file)} & NO_NETWORK_IN_WASM
        assert not found, f"{file.name} imports {found}"


@pytest.mark.parametrize("file", named(OURS))
def test_a_file_and_its_functions_can_be_read_at_a_sitting(file: Path) -> None:
    text = file.read_text()
    longer = str(file.relative_to(ROOT)) in LONGER
    assert text.count("\n") < (LONGER_LINES_MAX if longer else FILE_LINES_MAX)
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


def tree_of(cls: type[AorayError]) -> Iterator[type[AorayError]]:
    yield cls
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree_of(child)


@pytest.mark.parametrize("cls", list(tree_of(AorayError)))
def test_an_error_survives_pickling_with_all_it_says(cls: type[AorayError]) -> None:
    error = cls("it went wrong", hint="try this", process_id="p", retry_after_s=3)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is cls
    assert body_of(back) == body_of(error)
    assert str(back) == "it went wrong"
    assert (back.hint, dict(back.details)) == (error.hint, dict(error.details))
    assert status_of(back) == status_of(error)


def test_codes_are_apart() -> None:
    codes = [cls.code for cls in tree_of(AorayError)]
    assert len(set(codes)) == len(codes)


def test_the_field_at_fault_survives_too() -> None:
    back = pickle.loads(pickle.dumps(errors.MalformedInput("bad", field="owner")))
    assert back.field == "owner"
    assert body_of(back)["field"] == "owner"
