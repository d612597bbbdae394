"""What instances cost: their own pages and little more; at rest, a part of that; closed, nothing."""

from __future__ import annotations

import gc
import os

import pytest
from guests import ENV, message
from programs import AOS_FOLDER

from aoray.limits import GIB, MIB
from aoray.modules.lua import LUA_WASM
from aoray.testing.local_computer import memory_of
from aoray.util import heap
from aoray.vm.interface import Limits
from aoray.vm.wasm import WasmEngine, WasmInstance

RESIDENTS = 2000
AOS_RESIDENTS = 20
PROGRAM = "Handlers.add('ping', 'Ping', function() N = (N or 0) + 1 print('pong ' .. N) end)"


def held() -> int:
    gc.collect()
    heap.give_back()
    return memory_of(os.getpid())


def ping(process: WasmInstance, nonce: int) -> str:
    outcome = process.evaluate(message(nonce, "", "Ping"), ENV)
    assert outcome.error is None
    return str(outcome.response["Output"]["data"])


@pytest.mark.long
def test_two_thousand_lua_processes_fit_in_a_gibibyte(engine: WasmEngine) -> None:
    module = engine.load(LUA_WASM.read_bytes())
    processes = [WasmInstance.boot(module, Limits())]
    before = held()
    processes += [WasmInstance.boot(module, Limits()) for _ in range(RESIDENTS - 1)]
    for process in processes:
        for nonce, (text, action) in enumerate([("", ""), (PROGRAM, "Eval")]):
            assert process.evaluate(message(nonce, text, action), ENV).error is None
        assert ping(process, 2) == "pong 1"
    awake = held()
    assert awake - before < GIB
    for process in processes:
        process.compact()
    resting = held()
    assert resting - before < (awake - before) / 2
    assert {ping(process, 3) for process in processes} == {"pong 2"}
    for process in processes:
        process.close()
    assert held() - before < (resting - before) / 2
    print(f"KiB each: {[(size - before) / RESIDENTS / 1024 for size in (awake, resting, held())]}")


@pytest.mark.node
def test_aos_processes_at_rest_hold_a_part_and_keep_their_states(engine: WasmEngine) -> None:
    """Each has written more than fits into an overlay while it is awake."""
    module = engine.load((AOS_FOLDER / "aos2_0_6.wasm").read_bytes())
    processes = [WasmInstance.boot(module, Limits()) for _ in range(AOS_RESIDENTS)]
    for process in processes:
        for nonce, (text, action) in enumerate([("", ""), (PROGRAM, "Eval")]):
            assert process.evaluate(message(nonce, text, action), ENV).error is None
        assert ping(process, 2) == "pong 1"
    states = {process.state_hash() for process in processes}
    awake = held()
    for process in processes:
        process.compact()
    assert awake - held() > AOS_RESIDENTS * MIB
    assert {process.state_hash() for process in processes} == states
    assert len(states) == 1
    assert {ping(process, 3) for process in processes} == {"pong 2"}
    for process in processes:
        process.compact()
        assert process.evaluate(message(4, "error('no')", "Eval"), ENV).error is not None
        assert ping(process, 5) == "pong 3"
        process.close()
