"""What reads and rewrites WASM agrees with another parser, and no valid module has state that is not saved.

Modules come from `wasm-tools smith`, and `wasm-tools dump` says what they hold: both are the Bytecode
Alliance's, as wasmtime's own parser is. The second test runs generated code: rollbacks, dry runs,
checkpoints, rests and replays must leave the same state and the same answers as the good messages alone do,
and those the same answers as the module as it came, run by wasmtime without any of aoray.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import wasmtime
from fuzz_strategies import answer_or_error, fuzz
from guests import data, wat
from hypothesis import strategies as st

from aoray.errors import UnsupportedModule
from aoray.limits import MIB
from aoray.vm.interface import Limits
from aoray.vm.wasm import WasmInstance, code, compiler, pages, rewriter
from aoray.vm.wasm.engine import WasmModule

TOOL = shutil.which("wasm-tools", path=str(Path(sys.executable).parent)) or ""
pytestmark = pytest.mark.skipif(not TOOL, reason="wasm-tools is not installed: run make install")

SEED_BYTES = 6_000
WHOLE = ["--max-imports", "0", "--min-memories", "1", "--max-memories", "1", "--min-funcs", "1"]
MEANT = [
    *("--gc-enabled", "false", "--exceptions-enabled", "true", "--tail-call-enabled", "true"),
    *(
        "--relaxed-simd-enabled",
        "false",
        "--threads-enabled",
        "false",
        "--custom-page-sizes-enabled",
        "false",
    ),
    *("--wide-arithmetic-enabled", "false"),
]
FORBIDDEN = {
    "table_set", "table_grow", "table_fill", "table_copy", "table_init", "elem_drop",
    "data_drop", "memory_init",
}  # fmt: skip
ANY = {
    "everything": ["--threads-enabled", "true", "--gc-enabled", "true", "--compact-imports-enabled", "false"],
    "meant": [*WHOLE, *MEANT],
    "long numbers": [*WHOLE, *MEANT, "--min-uleb-size", "3"],
    "64-bit": [*WHOLE, *MEANT, "--memory64-enabled", "true"],
    "no tables": [*WHOLE, *MEANT, "--max-tables", "0", "--bulk-memory-enabled", "false"],
}
seeds = st.integers(0, 2**64)


def tool(*arguments: str, given: bytes = b"") -> bytes:
    return subprocess.run([TOOL, *arguments], input=given, capture_output=True, check=True).stdout


def smith(seed: int, flags: list[str]) -> bytes | None:
    """A valid module made of random bytes, or None if they do not make one."""
    content = random.Random(seed).randbytes(SEED_BYTES)
    try:
        return tool("smith", *flags, given=content)
    except subprocess.CalledProcessError:
        return None


@cache
def engine() -> wasmtime.Engine:
    return compiler.configured()


def dumped(wasm: bytes) -> dict[int, str]:
    """The instructions of a module's functions, by where they begin, as the other parser reads them."""
    found, inside = {}, False
    for line in tool("dump", given=wasm).decode().splitlines():
        place, *more = (part.strip() for part in line.split("|", 2))
        if line.startswith("===="):
            inside = True
        elif len(more) == 2 and place:
            text = more[1]
            inside = inside and not text.endswith(" section")
            if inside and not text[0].isdigit() and text != "size of function":
                found[int(place, 16)] = text.split(" ")[0]
    return found


def read(wasm: bytes) -> list[int]:
    """Where the instructions of a module's functions begin, as aoray reads them."""
    found, reader = [], code.Reader(wasm, 8)
    while reader.position < len(wasm):
        kind, size = reader.byte(), reader.number()
        end = reader.position + size
        if kind == rewriter.CODE:
            for _ in range(reader.number()):
                length = reader.number()
                body = wasm[reader.position : reader.position + length]
                found += [reader.position + at for at in code.instructions(body)]
                reader.position += length
        reader.position = end
    return found


def valid(wasm: bytes) -> bool:
    try:
        wasmtime.Module.validate(engine(), wasm)
    except wasmtime.WasmtimeError:
        return False
    return True


@fuzz(150, st.sampled_from(sorted(ANY)), seeds)
def test_the_scanner_reads_what_another_parser_reads(kind: str, seed: int) -> None:
    wasm = smith(seed, ANY[kind])
    if wasm is None:
        return
    names = dumped(wasm)
    prepared = answer_or_error(lambda: rewriter.prepare(wasm), UnsupportedModule)
    if prepared is None or not valid(wasm):
        assert not valid(wasm) or refused_rightly(wasm, names), "a module that has all of its state is taken"
        return
    assert read(wasm) == sorted(names)
    assert not FORBIDDEN & set(names.values()), "state that is not saved"
    assert valid(prepared.wasm)
    after = list(dumped(prepared.wasm).values())
    assert after.count("memory_copy") <= 1 and after.count("memory_fill") <= 1, "each is charged for"


def refused_rightly(wasm: bytes, names: dict[int, str]) -> bool:
    text = tool("dump", given=wasm).decode()
    reference = re.search(r"content_type: (?!I32|I64|F32|F64)\w+(\(.*?\))?, mutable: true", text)
    imported = re.search(r"ty: (?!Func\()\w+\(", text)
    return bool(FORBIDDEN & set(names.values()) or reference or imported)


# --- behaviour ----------------------------------------------------------------------------------------------

SHAPE = wat(
    '(module (memory (export "memory") 1) (func (export "act") (param i32 i32) (result i32) (i32.const 0)))'
)
LIMITS = Limits(memory_bytes_max=8 * MIB, fuel=200_000)
MESSAGE, ENV, ANSWER = 32_768, 36_000, 40_000
BEFORE, AFTER = b'{"ok":true,"response":{"Output":"', b'"}}\0'


# What would be refused is left out, so that much is run: see the first test for that.
RUNS = [
    *(
        "--max-imports",
        "0",
        "--max-memories",
        "0",
        "--memory64-enabled",
        "false",
        "--max-memory32-bytes",
        str(MIB),
    ),
    *("--reference-types-enabled", "false", "--max-data-segments", "0", "--simd-enabled", "false"),
    *("--allowed-instructions", "numeric,parametric,variable,memory,control"),
]


def whole(seed: int, shape: Path) -> bytes | None:
    """A module that gives each message to generated code, and answers what that returned."""
    made = smith(seed, [*RUNS, *MEANT, "--exports", str(shape)])
    if made is None:
        return None
    text = tool("print", given=made).decode()
    act = re.search(r'\(export "act" \(func (\d+)\)\)', text)
    assert act
    return wat(text.rstrip().removesuffix(")") + wrapper(act[1]) + ")")


def wrapper(act: str) -> str:
    stores = [(at, f"(i32.const {byte})") for at, byte in enumerate(BEFORE)]
    nibble = "(i32.add (i32.const 97) (i32.and (i32.const 15) (i32.shr_u (local.get 2) (i32.const {}))))"
    stores += [(len(BEFORE) + n, nibble.format(4 * n)) for n in range(8)]
    stores += [(len(BEFORE) + 8 + n, f"(i32.const {byte})") for n, byte in enumerate(AFTER)]
    lines = "\n".join(f"(i32.store8 (i32.const {ANSWER + at}) {value})" for at, value in stores)
    return f"""
      (func (export "malloc") (param i32) (result i32)
        (select (i32.const {MESSAGE}) (i32.const {ENV}) (i32.gt_u (local.get 0) (i32.const 8))))
      (func (export "handle") (param i32 i32) (result i32) (local i32)
        (local.set 2 (call {act} (i32.load offset=9 (local.get 0)) (i32.load offset=13 (local.get 0))))
        {lines} (i32.const {ANSWER}))"""


def raw(wasm: bytes, messages: list[bytes]) -> list[str]:
    """What the module as it came answers: no rewriting, no fuel, no rollback."""
    config = wasmtime.Config()
    config.wasm_exceptions = True
    config.cranelift_nan_canonicalization = True
    config.max_wasm_stack = 1 << 20
    store = wasmtime.Store(wasmtime.Engine(config))
    store.set_limits(memory_size=LIMITS.memory_bytes_max)
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, wasm), []).exports(store)
    memory, handle, found = exports["memory"], exports["handle"], []
    assert isinstance(memory, wasmtime.Memory) and isinstance(handle, wasmtime.Func)
    for message in messages:
        memory.write(store, message + b"\0", MESSAGE)
        memory.write(store, b"{}\0", ENV)
        at = handle(store, MESSAGE, ENV) + len(BEFORE)
        found.append(memory.read(store, at, at + 8).decode())
    return found


steps = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "dry", "move", "rest"]),
        st.text("0Az ~", min_size=8, max_size=8).map(data),
    ),
    min_size=2,
    max_size=8,
)


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("shape") / "shape.wasm"
    path.write_bytes(SHAPE)
    yield path


def boot(module: WasmModule) -> WasmInstance:
    return WasmInstance.boot(module, LIMITS)


def moved(process: WasmInstance, module: WasmModule) -> WasmInstance:
    """The same process elsewhere, by way of a checkpoint."""
    offsets = process.state().differing(process.boot_state)
    other = boot(module)
    assert other.boot_id == process.boot_id
    other.restore(process.changes(offsets))
    assert other.state_hash() == process.state_hash()
    process.close()
    return other


def lived(module: WasmModule, plan: list[tuple[str, bytes]]) -> tuple[list[bytes], list[str], str]:
    """The messages that went well, what they were answered, and the state at the end."""
    process, good, answers = boot(module), [], []
    for what, message in plan:
        if what == "send":
            outcome = process.evaluate(message, b"{}")
            if outcome.error is None:
                good.append(message)
                answers.append(outcome.response["Output"])
        elif what == "dry":
            before, tried = process.state_hash(), process.dry_run(message, b"{}")
            assert process.state_hash() == before, "a dry run leaves no trace"
            assert process.dry_run(message, b"{}") == tried
        elif what == "move":
            process = moved(process, module)
        else:
            process.compact()
    state = process.state_hash()
    process.close()
    return good, answers, state


RAN = {"messages": 0}


@fuzz(80, seeds, steps)
def test_no_generated_module_has_state_that_is_not_saved(
    images: pages.Pages, shape: Path, seed: int, plan: list[tuple[str, bytes]]
) -> None:
    wasm = whole(seed, shape)
    artifact = wasm and answer_or_error(lambda: compiler.compiled(wasm), UnsupportedModule)
    if wasm is None or artifact is None:
        return
    module = WasmModule(engine(), images, "", artifact)
    if answer_or_error(lambda: boot(module).close() or True, UnsupportedModule) is None:
        return
    good, answers, state = lived(module, plan)
    assert lived(module, [("send", message) for message in good]) == (good, answers, state)
    assert raw(wasm, good) == answers
    RAN["messages"] += len(good)


def test_the_generated_modules_did_something() -> None:
    assert RAN["messages"] > 5


@pytest.fixture(scope="module")
def images() -> pages.Pages:
    return pages.best()
