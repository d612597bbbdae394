"""Any bytes are a module that runs within its limits, or `UnsupportedModule`; neither harms who loads it."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import orjson
import pytest
from fuzz_requests import PARROT
from fuzz_strategies import answer_or_error, damaged, fuzz
from guests import counter, data, hostile, wat
from hypothesis import strategies as st

from aoray.errors import UnsupportedModule
from aoray.execution.guest_output import to_result
from aoray.limits import MIB
from aoray.vm.interface import Limits
from aoray.vm.wasm import WasmInstance, code, compiler, pages, rewriter
from aoray.vm.wasm.engine import WasmModule

SMALL = Limits(memory_bytes_max=32 * MIB, fuel=3_000_000)
MODULES = [counter(), hostile(), wat(PARROT.read_text())]


def sections(wasm: bytes) -> list[bytes]:
    """A module's sections, each with its kind and size."""
    found, reader = [], code.Reader(wasm, 8)
    while reader.position < len(wasm):
        start = reader.position
        reader.byte()
        reader.take(reader.number())
        found.append(wasm[start : reader.position])
    return found


def mixed(chosen: list[bytes]) -> bytes:
    return b"\0asm\1\0\0\0" + b"".join(chosen)


def resized(section: bytes, count: int) -> bytes:
    """With another number of entries than there are."""
    reader = code.Reader(section, 1)
    reader.number()
    reader.number()
    body = rewriter.unsigned(count) + reader.rest()
    return section[:1] + rewriter.unsigned(len(body)) + body


SECTIONS = [section for module in MODULES for section in sections(module)]
counts = st.integers(0, 9) | st.sampled_from([2**31, 2**32 - 1, 2**35, 2**63, 2**70])
parts = st.one_of(
    st.sampled_from(SECTIONS),
    st.sampled_from(SECTIONS).flatmap(damaged),
    st.builds(resized, st.sampled_from(SECTIONS), counts),
    st.binary(max_size=12),
)
binaries = st.one_of(
    st.sampled_from(MODULES).flatmap(damaged),
    st.tuples(st.sampled_from(MODULES), st.integers(0, 2000)).map(lambda pair: pair[0][: pair[1]]),
    st.lists(parts, max_size=14).map(mixed),
    st.tuples(st.sampled_from(MODULES), st.integers(0, 12), parts).map(
        lambda given: mixed([*sections(given[0])[: given[1]], given[2], *sections(given[0])[given[1] + 1 :]])
    ),
    st.binary(max_size=60).map(lambda rest: b"\0asm\1\0\0\0" + rest),
)


@pytest.fixture(scope="module")
def images() -> Iterator[pages.Pages]:
    yield pages.best()


@fuzz(400, binaries)
def test_any_binary_is_read_or_refused(wasm: bytes) -> None:
    prepared = answer_or_error(lambda: rewriter.prepare(wasm), UnsupportedModule)
    assert prepared is None or len(prepared.wasm) < 3 * len(wasm) + 1_000


whole = st.sampled_from(MODULES)
said = st.lists(st.sampled_from([*"0123456789ABCDEFGHI", "7b7d"]), min_size=1, max_size=4)


@fuzz(200, whole | binaries, said)
def test_any_binary_runs_within_its_limits_or_is_refused(
    images: pages.Pages, wasm: bytes, said: list[str]
) -> None:
    artifact = answer_or_error(lambda: compiler.compiled(wasm), UnsupportedModule)
    if artifact is None:
        return
    again = compiler.unpacked(artifact.packed())
    assert again and again.packed() == artifact.packed()
    module = WasmModule(compiler.configured(), images, "", artifact)
    instance = answer_or_error(lambda: WasmInstance.boot(module, SMALL), UnsupportedModule)
    if instance is None:
        return
    try:
        before = state(instance)
        for each in said:
            outcome = instance.evaluate(data(each), b"{}")
            orjson.loads(to_result(outcome).result)
            assert outcome.fuel <= SMALL.fuel
            assert len(instance.memory()) <= SMALL.memory_bytes_max
            if outcome.error is not None:
                assert state(instance) == before, "an error changes nothing"
            before = state(instance)
        instance.dry_run(data(said[0]), b"{}")
        assert state(instance) == before
    finally:
        instance.close()


def state(instance: WasmInstance) -> tuple[str, bytes]:
    """As it is kept, and as the next message finds it."""
    return instance.state_hash(), sha256(instance.memory()).digest()


# Not before the test runs: what Ray does with signals when it starts must come before the first engine.
@fuzz(50, st.deferred(lambda: damaged(compiler.compiled(counter()).packed())))
def test_a_damaged_artifact_is_not_believed(packed: bytes) -> None:
    found = compiler.unpacked(packed)
    assert found is None or found.packed() == packed
