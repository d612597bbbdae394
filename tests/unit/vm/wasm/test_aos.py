"""Real aos binaries run unmodified, deterministically, and fail without a trace."""

from __future__ import annotations

from typing import Any

import pytest
from guests import ENV, message
from programs import AOS_FOLDER

from aoray.vm.interface import Limits, Outcome
from aoray.vm.wasm import WasmEngine, WasmInstance

pytestmark = pytest.mark.node

VERSIONS = ("aos2_0_6", "aos2_0_4_32")
LIMITS = Limits(memory_bytes_max=128 << 20, fuel=7_000_000_000)

FAILURES = (
    "x = 9 error('out')",
    "x = 9 return pcall(function() error('boom') end)",
    "x = 9 while true do end",
    "x = 9 local function f() return 1 + f() end return f()",
    "x = 9 local t = {} for i = 1, 1e9 do t[i] = string.rep('x', 1000000) .. i end",
    "x = 9 local s = string.rep('x', 10000000) while true do local a = s .. 'y' end",
    "x = 9 return string.rep('x', 9000000)",
    "x = ",
)


def boot(engine: WasmEngine, version: str, limits: Limits = LIMITS) -> WasmInstance:
    process = WasmInstance.boot(engine.load((AOS_FOLDER / f"{version}.wasm").read_bytes()), limits)
    assert process.evaluate(message(0, ""), ENV).error is None
    return process


def said(outcome: Outcome) -> Any:
    assert outcome.error is None, outcome.error
    return outcome.response["Output"]["data"]


def evaluate(process: WasmInstance, text: str, nonce: int = 1) -> Any:
    return said(process.evaluate(message(nonce, text), ENV))


@pytest.mark.parametrize("version", ["aos2_0_6", "aos2_0_4_32", "aos2_0_1", "aos2_0_3"])
def test_lua_runs(engine: WasmEngine, version: str) -> None:
    process = boot(engine, version)
    for nonce, (text, answer) in enumerate({
        "return 1 + 1": "2",
        "x = 5 return x": "5",
        "return x * 2": "10",
        "return 'schön ' .. utf8.char(0x1F680)": "schön 🚀",
        "return select(2, pcall(error, 'caught'))": "caught",
        "local n = 0 for i = 1, 5000 do if not pcall(error, i) then n = n + 1 end end return n": "5000",
        "return (os.date('!%Y-%m-%d %H:%M:%S %a %b', 86399))": "1970-01-01 23:59:59 Thu Jan",
        "return (os.date('%j %p', 1700000000))": "318 PM",
        "return tostring(io.open('/data/x')) .. tostring(io.open('/etc/passwd'))": "nilnil",
        "return tostring(os.getenv('HOME')) .. tostring(os.execute())": "nilfalse",
        "return string.format('%.3f %d', 2 / 3, 7 // 2)": "0.667 3",
        "return table.concat({('x'):rep(70000):len(), 'ok'}, ' ')": "70000 ok",
    }.items(), 1):  # fmt: skip
        assert evaluate(process, text, nonce).split("\n\n")[-1] == answer


@pytest.mark.parametrize("version", VERSIONS)
def test_the_state_after_failures_and_dry_runs_is_that_of_the_good_messages(
    any_engine: WasmEngine, version: str
) -> None:
    texts = [
        "x = 0 y = {}",
        *(f"x = x + {n} y[#y + 1] = {{n = x}} return x" for n in range(1, 9)),
        "return x",
    ]
    troubled, quiet = boot(any_engine, version), boot(any_engine, version)
    for nonce, text in enumerate(texts, 1):
        first = troubled.evaluate(message(nonce, text), ENV)
        assert first == quiet.evaluate(message(nonce, text), ENV)
        failure = FAILURES[nonce % len(FAILURES)]
        failed = troubled.evaluate(message(900 + nonce, failure), ENV)
        assert failed.error is not None
        assert troubled.dry_run(message(900 + nonce, failure), ENV) == failed
        troubled.dry_run(message(990, "x = 'dry' return x"), ENV)
        assert troubled.state_hash() == quiet.state_hash()
    assert evaluate(troubled, "return x", 99).split("\n\n")[-1] == "36"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("failure", FAILURES, ids=range(len(FAILURES)))
def test_a_hostile_message_ends_in_an_error_and_the_next_one_works(
    engine: WasmEngine, version: str, failure: str
) -> None:
    process = boot(engine, version)
    assert evaluate(process, "x = 5 return x").endswith("5")
    before = process.state_hash()
    outcome = process.evaluate(message(2, failure), ENV)
    assert outcome.error
    assert outcome.response == {
        "Error": outcome.error, "Output": "", "Messages": [], "Spawns": [], "Assignments": [],
    }  # fmt: skip
    assert process.state_hash() == before
    assert evaluate(process, "return x", 2).endswith("5")


@pytest.mark.parametrize("version", VERSIONS)
def test_two_replays_give_the_same_state_results_and_fuel(engine: WasmEngine, version: str) -> None:
    texts = [
        "t = {} for i = 1, 500 do t[tostring({})] = math.random() end",
        "return math.random(1000000)",
        "Send({Target = ao.id, Action = 'Ping', Data = tostring(t)})",
        "return os.time() .. os.clock()",
    ]
    runs = []
    for _ in range(2):
        process = boot(engine, version)
        runs.append([process.evaluate(message(n, text), ENV) for n, text in enumerate(texts, 1)])
        runs[-1].append(process.state_hash())
    assert runs[0] == runs[1]
    assert len(runs[0][2].response["Messages"]) == 1


def test_the_changes_of_aos_go_on_elsewhere(any_engine: WasmEngine) -> None:
    process, other = boot(any_engine, "aos2_0_6"), boot(any_engine, "aos2_0_6")
    evaluate(process, "big = {} for i = 1, 300000 do big[i] = {i} end")  # it grows
    other.restore(process.changes(process.state().differing(process.boot_state)))
    assert other.state_hash() == process.state_hash()
    again = message(2, "return #big")
    assert other.evaluate(again, ENV) == process.evaluate(again, ENV)
    assert other.state_hash() == process.state_hash()


def test_a_message_too_large_for_the_stack_is_an_error(engine: WasmEngine) -> None:
    process = boot(engine, "aos2_0_6")
    before = process.state_hash()
    assert evaluate(process, f"return #'{'x' * 300_000}'").endswith("300000")
    process = boot(engine, "aos2_0_6")
    assert (
        process.evaluate(message(1, "x" * (70 << 20)), ENV).error == "the module gave no room for the message"
    )
    assert process.state_hash() == before
