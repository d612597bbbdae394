"""What every folder of aoray keeps to: imports go one way, and files and functions
stay readable."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from aoray import errors
from aoray.errors import AorayError, body_of, status_of
from aoray.settings import SETTINGS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aoray"
OURS = sorted(PACKAGE.rglob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py"))
OURS += sorted((ROOT / "examples").rglob("*.py"))
FILE_LINES_MAX = 400
LONGER_LINES_MAX = 600
LONGER = {  # the cores of their rooms
    "aoray/actors/process_actor.py",
    "aoray/actors/evaluation.py",
    "aoray/storage/results.py",
    "aoray/scheduler/shard.py",
    "aoray/vm/wasm/pages.py",
}
FUNCTION_LINES_MAX = 60
FORMAT_BOUNDS = {  # no choice of ours: what a wire or disk format has room for, or results depend on
    "arweave/local/graphql:_HEIGHT_MAX",
    "arweave/local/matching:_WORD_CHARACTERS_MAX",
    "arweave/local/wallets:WINSTON_MAX",
    "arweave/uploaders:ANCHOR_BLOCKS_MAX",
    "cli/render:WIDTH_MIN",
    "gateway/observability/outbox:NONCE_MAX",
    "protocol/attestations:_NONCE_MAX",
    "protocol/attestations:_STATE_CHARACTERS_MAX",
    "protocol/merkle:CHUNK_BYTES_MAX",
    "protocol/merkle:CHUNK_BYTES_MIN",
    "protocol/signatures/ethereum:_S_MAX",
    "protocol/tags:_VARINT_BYTES_MAX",
    "settings:PORT_MAX",
    "vm/wasm/calendar:_FORMAT_BYTES_MAX",
    "vm/wasm/cxx:CAUGHT_MAX",
    "vm/wasm/weight:VALUES_MAX",
}

TABLE = [
    {"errors", "limits", "_version"},
    {"util"},
    {"settings", "vm"},
    {"protocol"},
    {"cluster", "economy", "modules"},
    {"storage"},
    {"contracts", "execution", "outbox", "web"},
    {"arweave", "client", "testing"},
    {"scheduler", "actors", "gateway", "verify"},
    {"runtime"},
    {"cli"},
    {"__init__", "__main__"},
]
"""Who may import whom: a folder imports what is on an earlier line, and itself, and nothing beside it."""
LINE_OF = {room: line for line, rooms in enumerate(TABLE) for room in rooms}


ROOT_FILES = {"__init__", "__main__", "_version", "errors", "limits", "settings"}
INSIDE = {
    "gateway": [
        {"core"},
        {"push"},
        {"gateway"},
        {"dialect"},
        {"legacy", "ao_core", "observability", "explorer"},
        {"apps", "driver_calls"},
        {"gateway_actor"},
    ],
    "protocol": [
        {"ids", "tags"},
        {"signatures"},
        {"ans104"},
        {"signed"},
        {"ao_core", "forms", "merkle", "modules", "engines", "outputs"},
        {"transactions", "cron", "assignments", "attestations", "decisions", "handovers", "spawn_chain"},
    ],
    "vm": [{"engines"}, {"interface"}, {"registry"}, {"wasm", "evm", "sqlite", "js", "llm"}],
}
"""Who may import whom inside of a room: as in the table."""
DECIDING = {"ordering", "planner", "residency", "balancing", "placement", "rules"}
"""The files, besides those of `protocol`, `outbox` and `economy` and those named `…_rules`, that only
decide."""
NOT_IN_RULES = {"sqlite3", "ray", "asyncio", "time", "starlette"}
DATABASES = {"sqlite3", "psycopg", "pyarrow.fs"}
MAY_HAVE_DATABASES = ("storage/", "arweave/local/", "verify/listing.py")  # the latter for its temporary table
BACKENDS = {
    f"aoray.storage.{name}"
    for name in ("files", "shared_files", "sqlite_store", "log.SqliteLog", "results.SqliteConnection")
}
BACKENDS |= {f"aoray.storage.postgres{name}" for name in ("", "_log", "_owner", "_results", "_store")}
"""What is one backend's: only `storage.factory` picks among them."""
MAY_HAVE_RAY = (
    "cluster/",
    "runtime/",
    "scheduler/shard.py",
    "scheduler/dispatch.py",
    "client/ray_transport.py",
)
MAY_HAVE_ENGINES = {
    "benchmarks/fuel.py",  # what WASM's units of fuel cost
    "benchmarks/guests.py",  # assemble modules
    "benchmarks/strangers.py",
}
MAY_HAVE_HTTP = ("web/", "gateway/", "arweave/local/")
"""Of the embedded Arweave only its routes (`…routes.py`)."""

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


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@cache
def imports_of(file: Path) -> tuple[str, ...]:
    """Every module that a file imports, wherever in it, but not what is for the type checker alone."""
    return tuple(_imports_of(file))


def _imports_of(file: Path) -> Iterator[str]:
    tree = parsed(file)
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


def room_of(name: str) -> str:
    """The room of a module of the package: its folder, or its own name if it is at the root."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def names_of(file: Path) -> tuple[str, ...]:
    """Every module of aoray that a file names in an import, also for the type checker alone."""
    return tuple(_names_of(file))


def _names_of(file: Path) -> Iterator[str]:
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("file", named(sorted(PACKAGE.rglob("*.py"))))
def test_imports_go_down_the_table(file: Path) -> None:
    room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in names_of(file):
        if name.partition(".")[0] != "aoray":
            continue
        other = room_of(name)
        assert other == room or LINE_OF[other] < LINE_OF[room], f"{room} imports {name}"


def test_every_room_has_its_line() -> None:
    rooms = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in PACKAGE.rglob("*.py")}
    assert rooms <= LINE_OF.keys()


def place_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def place_in_root(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def is_of(name: str, modules: set[str]) -> bool:
    """Whether an imported name is one of these modules, or of one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def at_import(file: Path) -> Iterator[str]:
    """What a file imports when it is imported itself."""
    for node in parsed(file).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_modules_import_each_other() -> None:
    files = {f"aoray.{place_of(file)[:-3].replace('/', '.')}": file for file in PACKAGE.rglob("*.py")}
    files = {name.removesuffix(".__init__"): file for name, file in files.items()}
    left = {
        name: {each if each in files else each.rpartition(".")[0] for each in at_import(file)} - {name}
        for name, file in files.items()
    }
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert not left, f"in circles, or behind one: {sorted(left)}"


def test_benchmarks_stand_beside_the_command_line() -> None:
    for file in (ROOT / "benchmarks").rglob("*.py"):
        assert not [name for name in imports_of(file) if is_of(name, {"aoray.cli"})], file.name
    for file in PACKAGE.rglob("*.py"):
        assert not [name for name in imports_of(file) if is_of(name, {"benchmarks", "tests"})], file.name


def test_the_root_holds_what_all_rooms_share_and_nothing_else() -> None:
    assert {file.stem for file in PACKAGE.glob("*.py")} == ROOT_FILES


@pytest.mark.parametrize("room", INSIDE)
def test_imports_inside_of_a_room_go_down_too(room: str) -> None:
    line_of = {part: line for line, parts in enumerate(INSIDE[room]) for part in parts}
    parts = {file.relative_to(PACKAGE / room).parts[0] for file in (PACKAGE / room).rglob("*.py")}
    assert {part.removesuffix(".py") for part in parts} - {"__init__"} <= line_of.keys()
    for file in sorted((PACKAGE / room).rglob("*.py")):
        part = file.relative_to(PACKAGE / room).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for name in names_of(file):
            if is_of(name, {f"aoray.{room}"}) and (other := name.split(".")[2]) != part:
                assert line_of[other] < line_of[part], f"{place_of(file)} imports {name}"


def test_what_decides_has_no_clock_no_store_and_no_network() -> None:
    rooms = ("protocol/", "outbox/", "economy/")
    for file in PACKAGE.rglob("*.py"):
        if place_of(file).startswith(rooms) or file.stem in DECIDING or file.stem.endswith("_rules"):
            found = [name for name in imports_of(file) if is_of(name, NOT_IN_RULES)]
            assert not found, f"{place_of(file)} imports {found}"


def test_databases_are_known_to_the_stores_alone() -> None:
    for file in PACKAGE.rglob("*.py"):
        if not place_of(file).startswith(MAY_HAVE_DATABASES):
            found = [name for name in imports_of(file) if is_of(name, DATABASES)]
            assert not found, f"{place_of(file)} imports {found}"


def test_which_backend_it_is_is_known_to_the_stores_alone() -> None:
    for file in PACKAGE.rglob("*.py"):
        if not place_of(file).startswith(("storage/", "settings.py")):
            found = [name for name in names_of(file) if is_of(name, BACKENDS)]
            assert not found, f"{place_of(file)} imports {found}: ask storage.factory"
            asked = re.findall(r"settings\.(?:store|files)\b", file.read_text())
            assert not asked, f"{place_of(file)} looks at {asked}: ask storage.factory"


def test_ray_is_imported_where_actors_are_made() -> None:
    for file in PACKAGE.rglob("*.py"):
        if not place_of(file).startswith(MAY_HAVE_RAY):
            found = [name for name in at_import(file) if is_of(name, {"ray"})]
            assert not found, f"{place_of(file)} imports {found}"


def test_http_is_known_to_servers_alone() -> None:
    for file in PACKAGE.rglob("*.py"):
        is_route = not place_of(file).startswith("arweave/") or file.stem.endswith("routes")
        if not (place_of(file).startswith(MAY_HAVE_HTTP) and is_route):
            found = [name for name in imports_of(file) if is_of(name, {"starlette", "fastapi"})]
            assert not found, f"{place_of(file)} imports {found}"


def test_what_all_dialects_share_names_none_of_them() -> None:
    """But for the list of them, and what it imports for that."""
    files = [*(PACKAGE / "gateway/core").rglob("*.py"), *(PACKAGE / "web").rglob("*.py")]
    files += [PACKAGE / "gateway/apps.py", PACKAGE / "gateway/dialect.py"]
    for file in files:
        lines = [line for line in file.read_text().splitlines() if "legacy" in line.lower()]
        listed = file.name == "apps.py" and len(lines) == 2 and lines[1].startswith("DIALECTS: ")
        assert not lines or listed, f"{place_of(file)} names a dialect: {lines}"


def test_the_options_that_are_settings_are_made_from_their_fields() -> None:
    options = {each.option for each in SETTINGS}
    for file in (PACKAGE / "cli").glob("*.py"):
        text = file.read_text()
        if re.search(r"from_environment\([^)]|in_force\(", text):  # it has options that are settings
            found = set(re.findall(r"click\.option\(\s*\"(--[a-z-]+)", text)) & options
            assert not found, f"{place_of(file)} writes {found} by hand: use setting_options"


def test_actors_are_named_by_cluster_names_alone() -> None:
    """No literal begins an actor's name, be it whole or in an f-string."""
    begins = re.compile(r"(shard|gateway|process|process-actor)-\d*")
    for file in PACKAGE.rglob("*.py"):
        if place_of(file) == "cluster/names.py":
            continue
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not begins.fullmatch(node.value), f"{place_of(file)}:{node.lineno} names {node.value}"


def test_services_call_each_other_by_typed_callers_alone() -> None:
    """`call(actor, "method", ...)`, whose answer has no type, is for the callers in `contracts`."""
    for file in PACKAGE.rglob("*.py"):
        if place_of(file).startswith(("contracts/", "cluster/", "vm/")):  # a guest is called, too
            continue
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Call) and len(node.args) > 1:  # also `partial(call, actor, "method")`
                through = {ast.unparse(each).rpartition(".")[2] for each in (node.func, node.args[0])}
                named = any(isinstance(each, ast.Constant) for each in node.args[1:3])
                where = f"{place_of(file)}:{node.lineno}"
                assert not (named and through & {"call", "_call"}), f"{where} calls an actor untyped"
    for file in (PACKAGE / "contracts").rglob("*.py"):
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.AsyncFunctionDef):
                assert node.returns and ast.unparse(node.returns) != "Any", f"{place_of(file)} {node.name}"


def test_messages_are_parsed_and_verified_by_their_envelope() -> None:
    """Whoever goes by `protocol/signed` takes any envelope that is registered there."""
    items = "aoray.protocol.ans104.items"
    for file in PACKAGE.rglob("*.py"):
        if not place_of(file).startswith("protocol/"):
            found = {items, f"{items}.parse", f"{items}.verify"} & set(names_of(file))
            assert not found, f"{place_of(file)} imports {found}: protocol/signed has it"


def test_a_bound_stands_in_limits_unless_a_format_or_a_guests_library_gives_it() -> None:
    found = {
        f"{file.relative_to(PACKAGE).with_suffix('')}:{name.id}"
        for file in PACKAGE.rglob("*.py")
        if file.name != "limits.py"
        for statement in parsed(file).body
        for name in assigned(statement)
        if isinstance(name, ast.Name) and name.id.endswith(("_MAX", "_MIN"))
    }
    assert {each for each in found if not each.endswith("DIGITS_MAX")} == FORMAT_BOUNDS


def assigned(statement: ast.stmt) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return statement.targets
    return [statement.target] if isinstance(statement, ast.AnnAssign) else []


def test_the_protocol_is_pure() -> None:
    for file in (PACKAGE / "protocol").rglob("*.py"):
        found = {name.partition(".")[0] for name in imports_of(file)} & NOT_IN_PROTOCOL
        assert not found, f"{file.name} imports {found}"


def test_which_virtual_machines_there_are_is_known_to_their_list_alone() -> None:
    """All else takes a module's from `vm/registry.py`, so that to add one touches its folder and its line."""
    engines = {f"aoray.vm.{folder.name}" for folder in (PACKAGE / "vm").iterdir() if folder.is_dir()}
    for file in [*PACKAGE.rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        if place_in_root(file) in MAY_HAVE_ENGINES or file.is_relative_to(PACKAGE / "vm"):
            continue
        found = [name for name in names_of(file) if is_of(name, engines | {"wasmtime"})]
        assert not found, f"{place_in_root(file)} imports {found}"


def test_the_list_of_virtual_machines_names_them_by_path_alone() -> None:
    engines = {f"aoray.vm.{folder.name}" for folder in (PACKAGE / "vm").iterdir() if folder.is_dir()}
    for file in (PACKAGE / "vm").glob("*.py"):
        assert not [name for name in names_of(file) if is_of(name, engines)], file.name


def test_the_engine_knows_no_network_and_no_ray() -> None:
    for file in (PACKAGE / "vm" / "wasm").rglob("*.py"):
        found = {name.partition(".")[0] for name in imports_of(file)} & NO_NETWORK_IN_WASM
        assert not found, f"{file.name} imports {found}"


@pytest.mark.parametrize("file", named(OURS))
def test_a_file_and_its_functions_can_be_read_at_a_sitting(file: Path) -> None:
    text = file.read_text()
    longer = str(file.relative_to(ROOT)) in LONGER
    assert text.count("\n") < (LONGER_LINES_MAX if longer else FILE_LINES_MAX)
    tree = parsed(file)
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
