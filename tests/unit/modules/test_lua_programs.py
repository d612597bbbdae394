"""Programs written for AO run: a token, a chat room, staking and voting, a game. They are in `programs/`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lua_process import ALICE, BOB, CAROL, PROCESS, LuaProcess, sent, shown, tags_of

from aoray.vm.interface import Outcome
from aoray.vm.wasm import WasmModule

PROGRAMS = Path(__file__).parent / "programs"
SUPPLY = 10**16


def loaded(module: WasmModule, *names: str) -> LuaProcess:
    process = LuaProcess(module)
    for name in names:
        assert process.run((PROGRAMS / f"{name}.lua").read_text()) == ""
    return process


def summary(outcome: Outcome) -> list[tuple[str, str, str]]:
    """(to whom, Action, Data) of what was sent."""
    return [(m.get("Target", ""), tags_of(m).get("Action", ""), m.get("Data", "")) for m in sent(outcome)]


@pytest.fixture
def token(lua_module: WasmModule) -> LuaProcess:
    process = loaded(lua_module, "token")
    process.run(f'Balances["{BOB}"] = "1000000000000000000000000000001"')
    return process


def balance(token: LuaProcess, who: str, height: int = 0) -> int:
    host = {"Block-Height": height}
    (answer,) = sent(token.send("Balance", tags={"Recipient": who}, **host))
    assert tags_of(answer)["Balance"] == answer["Data"]
    return int(answer["Data"])


def test_a_transfer_moves_and_tells_both(token: LuaProcess) -> None:
    tags = {
        "Recipient": ALICE,
        "Quantity": "1000000000000000000000000000000",
        "X-Note": "hi",
        "Reference": "9",
    }
    outcome = token.send("Transfer", tags=tags)
    assert "WARN: No target specified" in shown(outcome)
    debit, credit, patch = sent(outcome)
    assert (debit["Target"], credit["Target"], "Target" in patch) == (BOB, ALICE, False)
    assert tags_of(debit)["X-Reference"] == "9"
    assert tags_of(debit)["X-Note"] == tags_of(credit)["X-Note"] == "hi"
    assert tags_of(patch)["balances"] == {ALICE: str(10**30)}
    assert [balance(token, who) for who in (BOB, ALICE, PROCESS)] == [1, 10**30, SUPPLY]


def test_a_transfer_that_cannot_be_is_refused(token: LuaProcess) -> None:
    (answer,) = sent(token.send("Transfer", sender=CAROL, tags={"Recipient": ALICE, "Quantity": "5"}))
    assert tags_of(answer)["Error"] == "Insufficient Balance!"
    for tags, text in (
        ({"Quantity": "5"}, "Recipient is required!"),
        ({"Recipient": ALICE}, "Quantity is required!"),
        ({"Recipient": ALICE, "Quantity": "0"}, "greater than 0"),
        ({"Recipient": ALICE, "Quantity": "-5"}, "greater than 0"),
        ({"Recipient": ALICE, "Quantity": "1.5"}, "value cannot be represented by a bint"),
    ):
        assert text in (token.send("Transfer", tags=tags).error or "")
    assert not sent(token.send("Transfer", tags={"Recipient": ALICE, "Quantity": "1", "Cast": "yes"}))[1:]
    assert balance(token, ALICE) == 1


def test_the_token_tells_and_mints_only_for_itself(token: LuaProcess) -> None:
    (info,) = sent(token.send("Info"))
    assert {"Name": "tester", "Ticker": "PNTS", "Denomination": "12"}.items() <= tags_of(info).items()
    assert "Mint-Error" in str(sent(token.send("Mint", tags={"Quantity": "5"})))
    token.send("Mint", sender=PROCESS, tags={"Quantity": "5"})
    (answer,) = sent(token.send("Balances"))
    assert json.loads(answer["Data"])[PROCESS] == str(SUPPLY + 5)


def test_a_chat_room_tells_its_members(lua_module: WasmModule) -> None:
    room = loaded(lua_module, "chatroom")
    assert summary(room.send("Register")) == [(BOB, "", "Registered.")]
    assert summary(room.send("Register")) == [(BOB, "", "Already registered.")]
    assert summary(room.send("Broadcast", "hello", sender=ALICE)) == [(ALICE, "", "Not registered")]
    room.send("Register", sender=ALICE)
    heard = [(who, "Broadcast-Notice", "hello") for who in (BOB, ALICE)]
    assert summary(room.send("Broadcast", "hello")) == [*heard, (BOB, "", "Broadcasted.")]
    assert summary(room.send("Unregister")) == [(BOB, "", "Unregistered")]
    assert room.run("#Members") == "1"


def test_stakes_come_back_and_votes_are_counted_at_their_height(lua_module: WasmModule) -> None:
    bank = loaded(lua_module, "token", "staking")
    bank.run(f'Balances["{BOB}"] = "300"')
    at = {"Block-Height": 100}
    assert summary(bank.send("Stake", tags={"Quantity": "300"}, **at))[0][2] == "Successfully Staked 300"
    assert "Insufficient" in (bank.send("Stake", tags={"Quantity": "1"}, **at).error or "")
    vote = {"Target": CAROL, "Side": "yay", "Deadline": "200"}
    assert shown(bank.send("Vote", tags=vote, **at)) == f"Voted yay on {CAROL}"
    assert f"{CAROL}: passed" in shown(bank.send("Other", **{"Block-Height": 200}))
    stakers = json.loads(sent(bank.send("Stakers", **at))[0]["Data"])
    assert stakers == {BOB: {"amount": "300", "unstake_at": 770}}
    bank.send("Unstake", **at)
    assert [balance(bank, BOB, height) for height in (100, 769, 770)] == [0, 0, 300]


def test_a_game_keeps_time_by_its_messages(lua_module: WasmModule) -> None:
    arena = loaded(lua_module, "arena")
    assert "nobody is here" in (arena.send("Start").error or "")
    arena.send("Credit-Notice", sender=CAROL, tags={"Sender": BOB, "Quantity": "99"})
    joined = arena.send("Credit-Notice", sender=CAROL, tags={"Sender": BOB, "Quantity": "100"})
    assert summary(joined) == [(BOB, "Registered", "")]
    assert summary(arena.send("Start", Timestamp=1000)) == [(BOB, "Announcement", "")]
    state = json.loads(sent(arena.send("GetGameState", Timestamp=1002))[0]["Data"])
    assert state == {"mode": "Playing", "players": {BOB: 100}}
    assert tags_of(sent(arena.send("Other", Timestamp=1003))[0])["Event"] == "Game-Ended"


def test_a_handler_waits_for_another_process(lua_module: WasmModule) -> None:
    arena = loaded(lua_module, "arena")
    (question,) = sent(arena.send("Prize", tags={"Oracle": CAROL, "Reference": "5"}))
    assert question["Target"] == CAROL
    reference = tags_of(question)["Reference"]
    (answer,) = sent(arena.send("Price", "42", sender=CAROL, tags={"X-Reference": reference}))
    assert (answer["Target"], json.loads(answer["Data"])) == (BOB, {"price": 42, "lucky": True})
    assert tags_of(answer)["X-Reference"] == "5"
