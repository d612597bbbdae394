"""The built-in module and aos 2.0.6 (from npm, as a black box) get the same messages, and answer the same.

Where aos has accidents, and in the words of errors that are our own, they may differ; such cases are not here
(README.md beside the module lists them). Addresses of functions and tables differ, of course.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from lua_process import ALICE, AUTHORITY, BOB, CAROL, OWNER, PROCESS, LuaProcess, sent
from programs import AOS

from aoray.vm.interface import Outcome
from aoray.vm.wasm import WasmEngine, WasmModule

PROGRAMS = Path(__file__).parent / "programs"
pytestmark = pytest.mark.node

Message = tuple[str, dict[str, Any]]
"""An Action, and what `LuaProcess.send` takes besides."""


def from_bob(action: str = "", data: str | None = "", **tags: str) -> Message:
    return action, {"data": data, "tags": {name.replace("_", "-"): value for name, value in tags.items()}}


def by(sender: str, message: Message, signer: str = "", **host: Any) -> Message:
    return message[0], {**message[1], "sender": sender, "signer": signer, **host}


def evals(*sources: str) -> list[Message]:
    return [("Eval", {"data": source, "sender": OWNER}) for source in sources]


def programs(*names: str) -> list[Message]:
    return evals(*((PROGRAMS / f"{name}.lua").read_text() for name in names))


def handler(name: str, body: str) -> Message:
    return evals(f'Handlers.add("{name}", "{name}", function(m) {body} end)')[0]


FIELDS = ["Data = {}", "Data = {a = 1}", "Data = 5", "Data = false", "N = 1.0, M = 1e16", "F = print"]
FIELDS += ['Type = "T", Reference = "9", Anchor = "z", From = "q", Tags = {{name = "A", value = "1"}}']
CONVERSATIONS: dict[str, list[Message]] = {
    "prompt": evals(
        *("1 + 1", "'a'", "x = 1", "x", "nil", "false", "true", "", "-- nothing", "return", "3.0", "10 ^ 12"),
        *("{1, 2}", "{a = 'b'}", "{{1}, {2}}", "{a = {b = {c = {}}}}", "{true, false}", "{1, {2}}", "1e15"),
        *("print('x') return 5", "print(nil) print(true) print(1.5)", "print({1})", "return 'v', 'e'"),
        *("foo bar", "\n\nerror('x')", "error('x', 0)", "nope()", "local t = nil; return t.x"),
        *("assert(false, 'm')", "return 1, 2", "{['a b'] = 1}", "tostring(unpack)", "math.pow(2, 3)"),
        *("Name", "Owner", "#Inbox", "ao.id", "_VERSION", "bit32.band(7, 2)", "Dump({1, 'x', k = 'v'})"),
        *("Dump({n = {a = 1}})", "Dump(5)", "require('.pretty').tprint({a = {b = 1}})", "Name = 'new'"),
        *("Prompt = function() return 'P> ' end", "1", "Errors", "return function() end and 1"),
        "tostring(setmetatable({}, {__tostring = function() return 'T' end}))",
    ),
    "sending": evals(
        *(
            f'Send({{Target = "x", {fields}}}) return ""'
            for fields in ("Data = {}", "Data = {a = 1}", "Data = 5")
        ),
        *(
            f'Send({{Target = "x", {fields}}}) return ""'
            for fields in ("Data = false", "N = 1.0, M = 1e16", "F = print")
        ),
        'Send({Data = "x", Tags = {A = "1", B = "2"}}) return ""',
        'Send({Target = "x", Data = {1}, ["Content-Type"] = "foo"}) return ""',
        'Spawn("m", {Data = "d", Tags = {A = "1"}, Name = "n"}) return ""',
        'Spawn({Data = {a = 1}}) return ""',
        'Assign({Processes = {"a"}, Message = "m", Exclude = {"Data"}})',
        'ao.assign({Processes = {"a"}, Message = "m"})',
        "ao.reference",
        'ao.outbox.Error = "boo"',
        'ao.log("x") ao.outbox.Output = "y" return "z"',
        "Assign({})",
        'Assign({Processes = "a", Message = "m"})',
    ),
    "handlers": [
        handler("Ping", 'm.reply({Data = "pong", Action = "Pong"})'),
        from_bob("Ping"),
        from_bob("Ping", Reference="17", X_Foo="bar"),
        from_bob("Ping", Reference="4", X_Reference="9", X_Origin="o", Reply_To=CAROL),
        from_bob("ping"),
        from_bob("Foo", "some data that is long enough"),
        from_bob("", "some data that is long enough"),
        from_bob("A" * 30),
        from_bob("", None),
        *evals(
            "Handlers.add('Solo', function(m) print('solo') end)", "#Handlers.list", "Handlers.remove('Solo')"
        ),
        *evals(
            "Handlers.once('One', 'One', function() print('one') end)",
            "Handlers.once('Two', function() print('two') end)",
        ),
        *(from_bob(action) for action in ("One", "One", "Two", "Two")),
        *evals(
            "c = function(m) return m.Action == 'C' and 'continue' end",
            "Handlers.prepend('c', c, function() print('c') end)",
        ),
        from_bob("C"),
        *evals(
            "Handlers.add('T', {Action = {'T1', 'T2'}, Quantity = '%d+'}, function(m) print(m.Quantity) end)"
        ),
        *(from_bob("T1", Quantity=quantity) for quantity in ("x", "a10b")),
        from_bob("t2", quantity="5"),
        *evals(
            "r = {[{X = '1'}] = function() print('x1') end, [{X = '2'}] = function() print('x2') end}",
            "Handlers.add('R', 'R', r)",
        ),
        *(from_bob("R", X=value) for value in "123"),
        *evals(
            "h = Handlers.utils.hasMatchingTagOf('Action', {'H1', 'H2'})",
            "Handlers.add('h', h, function() print('h') end)",
        ),
        *(from_bob(action) for action in ("H1", "H2", "H3")),
        *evals("Handlers.add('ct', Handlers.utils.continue('Ct'), function() print('ct') end)"),
        from_bob("Ct"),
        handler("Er", 'print("pre") error("oops")'),
        from_bob("Er"),
        handler("Fw", 'm.forward("T", {Action = "Fwded", Extra = "1"})'),
        from_bob("Fw", "d", Reference="17", X_Foo="bar", Custom="c", Pushed_For="P"),
        from_bob(
            "Fw",
            '{"a":[1,null]}',
            Content_Type="application/json",
            Reply_To="R",
            X_Reference="9",
            X_Origin="X",
        ),
    ],
    "waiting": [
        *evals(f'local r = Send({{Target = "{BOB}"}}).receive() print("R " .. r.Data) return "done"'),
        by(CAROL, from_bob("r", "z", X_Reference="1")),
        from_bob("r", "z", X_Reference="2"),
        from_bob("r", "answer", X_Reference="1"),
        from_bob("r", "again", X_Reference="1"),
        *evals('local a = Receive("B1") local b = Receive("B2") print(a.Data .. b.Data)'),
        *(from_bob(action, data) for action, data in (("B2", "x"), ("B1", "a"), ("B2", "b"), ("B2", "c"))),
        *evals(*(f'local a = Receive("Z") print("{n} " .. a.Data)' for n in (1, 2))),
        *(from_bob("Z", data) for data in "xyz"),
        *evals('local r = Receive("E") error("bad " .. r.Data)'),
        from_bob("E", "x"),
        *evals(
            'rx = {[{Action = "X"}] = function() print("rx") end}',
            f'Send({{Target = "{BOB}"}}).onReply("{CAROL}", rx)',
        ),
        by(CAROL, from_bob("X", X_Reference="2")),
        *evals('local p = Spawn("mod", {}).receive() print("spawned " .. p.Process)'),
        by(PROCESS, from_bob("Spawned", Reference="3", Process="NEW")),
        *evals(
            'local ok, e = pcall(function() error("in " .. Receive("P1").Data) end) print(tostring(ok) .. e)'
        ),
        from_bob("P1", "x"),
    ],
    "trust": [
        by(BOB, from_bob("A"), AUTHORITY),
        by(BOB, from_bob("A"), CAROL),
        by(OWNER, from_bob("Eval", "1"), BOB),
        by(OWNER, from_bob("Eval", "1"), AUTHORITY),
        by(BOB, from_bob("Eval", "1")),
        by(BOB, from_bob("As"), Target=CAROL),
        by(PROCESS, from_bob("As"), Target=CAROL),
        *evals('ao.addAssignable("mine", {Action = "As"})', "#ao.assignables"),
        by(BOB, from_bob("As"), Target=CAROL),
        *evals('ao.removeAssignable("mine")', f'Owner = "{BOB}"', "1"),
        by(BOB, from_bob("Eval", "1 + 2")),
    ],
    "token": [
        *programs("token"),
        *evals(f'Balances["{BOB}"] = "1000"', "Balances[ao.id]"),
        from_bob("Info"),
        from_bob("Balance", Recipient=ALICE),
        from_bob("Transfer", Recipient=ALICE, Quantity="10", X_Note="n", Reference="5"),
        from_bob("Transfer", Recipient=ALICE, Quantity="10", Cast="1"),
        from_bob("Transfer", Recipient=ALICE, Quantity="100000"),
        from_bob("Transfer", Recipient=ALICE, Quantity="x"),
        from_bob("Transfer", Recipient=ALICE),
        from_bob("Mint", Quantity="5"),
        by(PROCESS, from_bob("Mint", Quantity="5")),
        from_bob("Total"),
    ],
    "chatroom": [
        *programs("chatroom"),
        *(
            by(who, from_bob(action, "text"))
            for who in (BOB, ALICE)
            for action in ("Register", "Register", "Broadcast")
        ),
        from_bob("Unregister"),
        from_bob("Broadcast", "x"),
    ],
    "arena": [
        *programs("arena"),
        from_bob("Start"),
        by(CAROL, from_bob("Credit-Notice", Sender=BOB, Quantity="100")),
        by(BOB, from_bob("Start"), Timestamp=1000),
        by(BOB, from_bob("GetGameState"), Timestamp=1001),
        by(BOB, from_bob("Other"), Timestamp=1003),
        from_bob("Prize", Oracle=CAROL, Reference="5"),
        by(CAROL, from_bob("Price", "42", X_Reference="5")),
    ],
    "chance": evals(
        *["math.random()"] * 5, "math.random(100)", "math.random(5, 6)", "math.random(-9, 9)", "os.time()"
    ),
}


@pytest.fixture(scope="session")
def aos_module(lua_engine: WasmEngine) -> WasmModule:
    return lua_engine.load(AOS.read_bytes())


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_goes_as_with_aos(name: str, lua_module: WasmModule, aos_module: WasmModule) -> None:
    ours, theirs = LuaProcess(lua_module), LuaProcess(aos_module)
    for action, given in CONVERSATIONS[name]:
        answers = [comparable(process.send(action, **given)) for process in (ours, theirs)]
        assert answers[0] == answers[1], (action, given)


def comparable(outcome: Outcome) -> dict[str, Any]:
    if outcome.error is not None:
        return {"Error": re.sub(r'\[string "[^"]*"\]:\d+: ', "", outcome.error.rpartition("error:\n")[2])}
    text = re.sub(r"(function|table): 0x\w+", r"\1", json.dumps(outcome.response["Output"], sort_keys=True))
    text = re.sub(r"@\\u001b\[34m[^\\]*", "@", text)
    outbox = [*sent(outcome), *outcome.response["Spawns"]]
    for item in outbox:
        if str(item.get("Data")).startswith("{"):
            item["Data"] = json.loads(item["Data"])  # its keys have no order
        item["Tags"] = sorted(([tag["name"], tag.get("value")] for tag in item["Tags"]), key=str)
    return {"Output": json.loads(text), "Outbox": outbox, "Assignments": outcome.response["Assignments"]}


def test_a_plain_message_costs_less_than_with_aos(lua_module: WasmModule, aos_module: WasmModule) -> None:
    """In compute, which is the same on every machine."""
    ours, theirs = LuaProcess(lua_module), LuaProcess(aos_module)
    for process in (ours, theirs):
        process.run('Handlers.add("Ping", "Ping", function(m) m.reply({Data = "pong"}) end)')
    assert ours.send("Ping").fuel * 3 < theirs.send("Ping").fuel
