"""Tags of a message: which patterns they match, and by which names they answer and are passed on."""

from __future__ import annotations

from typing import Any

import pytest
from lua_process import ALICE, AUTHORITY, BOB, CAROL, LuaProcess, sent, shown
from programs import AOS_FOLDER

from aoray.vm.interface import Outcome
from aoray.vm.wasm import WasmEngine, WasmModule

Pairs = list[tuple[str, str]]
SENDER = "S" * 43
JOIN = [
    *[("Operator-Stake", "10000"), ("Allow-Delegated-Staking", "true"), ("FQDN", "g.example.org")],
    *[("Label", "ours"), ("Min-Delegated-Stake", "100"), ("Port", "443"), ("Protocol", "https")],
    *[("Properties", "p"), ("Auto-Stake", "false"), ("Observer-Address", "o")],
]
"""What `@ar.io/sdk` 3.24 sends for `joinNetwork` (its option `fqdn` is the tag `FQDN`)."""
PATTERNS: list[tuple[str, str, Pairs]] = [
    ("typed", '{Action = "A", Type = "Message"}', []),
    ("by a process", '{Action = "A", ["From-Process"] = "_"}', [("From-Process", SENDER)]),
    ("by this process", f'{{["From-Process"] = "{SENDER}"}}', [("From-Process", SENDER)]),
    ("of a module", '{["From-Module"] = function(v, m) return v == "M" end}', [("From-Module", "M")]),
    ("of the protocol", '{["Data-Protocol"] = "ao"}', []),
    ("first of two", '{Quantity = "10"}', [("Quantity", "10"), ("Quantity", "20")]),
    ("last of two", '{Quantity = "20"}', [("Quantity", "10"), ("Quantity", "20")]),
    ("either of a list", '{Quantity = {"7", "10"}}', [("Quantity", "10"), ("Quantity", "20")]),
    (
        "by a function",
        '{Quantity = function(v) return v == "10" end}',
        [("Quantity", "10"), ("Quantity", "2")],
    ),
    ("first action", '{Action = "A"}', [("Action", "B")]),
    ("neither", '{Quantity = "15"}', [("Quantity", "10"), ("Quantity", "20")]),
    ("not there", '{Type = "Message", Note = "_"}', []),
    ("of another type", '{Type = "Process"}', []),
]


def send(process: LuaProcess, tags: Pairs, sender: str = BOB, signer: str = "", **host: Any) -> Outcome:
    return process.send("", "d", sender, signer, tags, **host)


def with_action(tags: Pairs) -> Pairs:
    return [("Data-Protocol", "ao"), ("Variant", "ao.TN.1"), ("Type", "Message"), ("Action", "A"), *tags]


def passed_on(item: dict[str, Any]) -> Pairs:
    return [(tag["name"], tag["value"]) for tag in item["Tags"][4:]]


@pytest.fixture(scope="module", params=["aos2_0_3", "aos2_0_4_32", "aos2_0_6"])
def aos(lua_engine: WasmEngine, request: pytest.FixtureRequest) -> WasmModule:
    return lua_engine.load((AOS_FOLDER / f"{request.param}.wasm").read_bytes())


@pytest.mark.node
def test_a_table_pattern_matches_tags_as_in_each_aos(lua_module: WasmModule, aos: WasmModule) -> None:
    for name, pattern, tags in PATTERNS:
        found = []
        for module in (lua_module, aos):
            process = LuaProcess(module)
            process.eval(f'Handlers.add("h", {pattern}, function(m) print("matched") end)')
            found.append(shown(send(process, with_action(tags))).startswith("matched"))
        assert found[0] == found[1], (name, found)


@pytest.mark.parametrize(("name", "pattern", "tags"), PATTERNS)
def test_handlers_waiters_and_assignables_match_tags_alike(
    lua_module: WasmModule, name: str, pattern: str, tags: Pairs
) -> None:
    matching = name not in ("neither", "not there", "of another type")
    process = LuaProcess(lua_module)
    process.run(f'Handlers.add("h", {pattern}, function(m) print("handled") end)')
    assert (shown(send(process, with_action(tags))) == "handled") is matching
    process.run(f'Handlers.remove("h") local m = Receive({pattern}) print("got " .. m.Data)')
    assert (shown(send(process, with_action(tags))) == "got d") is matching
    process = LuaProcess(lua_module)
    process.run(f'ao.addAssignable("mine", {pattern})')
    refused = shown(send(process, with_action(tags), Target=CAROL)).startswith("Assignment is not trusted")
    assert refused is not matching


def test_a_waiter_for_a_process_wakes_when_it_answers(process: LuaProcess) -> None:
    body = 'local a = Receive({Action = "Answer", ["From-Process"] = m.Peer}) print("got " .. a.Data)'
    process.run(f'Handlers.add("Ask", "Ask", function(m) Send({{Target = m.Peer, Action = "Q"}}) {body} end)')
    process.send("Ask", tags={"Peer": ALICE})
    answer = with_action([("Action", "Answer"), ("From-Process", ALICE)])
    assert shown(send(process, answer, ALICE, AUTHORITY)) == "got d"


@pytest.mark.parametrize(
    "field", ["From", "Owner", "Id", "Target", "Timestamp", "Module", "Cron", "Read-Only"]
)
def test_a_tag_never_matches_where_the_host_speaks(process: LuaProcess, field: str) -> None:
    process.run(f'Handlers.add("h", {{["{field}"] = "spoofed"}}, function(m) print("fooled") end)')
    for spelling in (field, field.lower(), field.upper()):
        assert "fooled" not in shown(send(process, with_action([(spelling, "spoofed")]))), spelling
    see = f'print(tostring(m["{field}"]) .. " " .. m.Tags["{field}"])'
    process.run(f'Handlers.add("see", "A", function(m) {see} end)')
    for spelling in (field, field.lower(), field.upper()):
        answered, tag = shown(send(process, with_action([(spelling, "spoofed")]))).split(" ")
        assert answered != "spoofed" and tag == "spoofed", spelling


def test_a_tag_answers_by_the_senders_spelling_and_title_cased(process: LuaProcess) -> None:
    names = ["FQDN", "userName", "X-Order-ID", "DominantToken", "snake_case", "lower"]
    folded = ["Fqdn", "Username", "X-Order-Id", "Dominanttoken", "Snake-Case", "Lower"]
    tags = [(name, f"of {name}") for name in names]
    for name, other in zip(names, folded, strict=True):
        for spelling in (name, other):
            see = f'print(m["{spelling}"] .. "|" .. m.Tags["{spelling}"] .. "|" .. Tab(m)["{spelling}"])'
            process.run(f'Handlers.add("see", {{["{spelling}"] = "_"}}, function(m) {see} end)')
            assert shown(send(process, with_action(tags))) == "|".join([f"of {name}"] * 3)
            process.run(f'Handlers.add("see", Handlers.utils.hasMatchingTag("{spelling}", "of {name}"), h)')


def test_where_spellings_collide_the_first_is_the_tag_and_the_last_the_field(process: LuaProcess) -> None:
    see = 'print(m.Tags.Name .. m.Name .. "|" .. tostring(m.Tags.NAME) .. tostring(m.NAME))'
    process.run(f'Handlers.add("see", "A", function(m) {see} end)')
    for tags, seen in (
        ([("NAME", "1"), ("Name", "2")], "12|11"),
        ([("Name", "1"), ("NAME", "2")], "12|22"),
        ([("name", "1"), ("NAME", "2"), ("nAME", "3")], "13|22"),
    ):
        assert shown(send(process, with_action(tags))) == seen


def test_pairs_and_the_list_of_tags_show_each_tag_once_as_it_was_sent(process: LuaProcess) -> None:
    count = 'local n = {} for k in pairs(t) do if k:lower() == "x-order-id" then n[#n + 1] = k end end'
    see = f'for _, t in ipairs({{m, m.Tags, ao.normalize(m)}}) do {count} print(table.concat(n, ",")) end'
    process.run(f'Handlers.add("see", "A", function(m) {see} print(m.TagArray[5].name) end)')
    assert shown(send(process, with_action([("X-Order-ID", "7")]))) == "\n".join(["X-Order-ID"] * 4)


def test_what_is_passed_on_keeps_the_senders_spelling(process: LuaProcess) -> None:
    copy = 'for k, v in pairs(m) do if k:sub(1, 2) == "X-" then answer[k] = v end end'
    process.run(f'Handlers.add("A", "A", function(m) local answer = {{}} {copy} m.reply(answer) end)')
    tags = [("FQDN", "g"), ("userName", "ann"), ("X-Order-ID", "7"), ("from-process", SENDER), ("type", "T")]
    (reply,) = sent(send(process, with_action(tags)))
    assert passed_on(reply) == [("X-Order-ID", "7")]
    process.run(f'Handlers.add("A", "A", function(m) m.forward("{ALICE}", {{Fqdn = "h"}}) end)')
    (forwarded,) = sent(send(process, with_action([*tags, ("reply-to", CAROL), ("x-reference", "9")])))
    found = {name: value for name, value in passed_on(forwarded) if name not in ("Module", "Action")}
    assert found == {
        **{"Fqdn": "h", "userName": "ann", "X-Order-ID": "7"},
        **{"Reply-To": CAROL, "X-Reference": "9", "X-Origin": BOB},
    }
    sanitized = "local c = ao.sanitize(m) print(tostring(c.Reference) .. c.Username .. tostring(c.reference))"
    process.run(f'Handlers.add("A", "A", function(m) {sanitized} print(m.Reference) end)')
    assert shown(send(process, with_action([*tags, ("reference", "5")]))) == "nilannnil\n5"


def test_json_that_is_forwarded_has_one_content_type(process: LuaProcess) -> None:
    process.run(f'Handlers.add("A", "A", function(m) m.forward("{ALICE}") end)')
    tags = with_action([("content-type", "application/json")])
    (forwarded,) = sent(process.send("", '{"a":1}', tags=tags))
    assert [name for name, _ in passed_on(forwarded) if name.lower() == "content-type"] == ["Content-Type"]
    assert forwarded["Data"] == '{"a":1}'


def test_a_registry_reads_what_the_sdk_sends_to_join_a_network(process: LuaProcess) -> None:
    names = [name for name, _ in JOIN]
    tags = ", ".join(f'm.Tags["{name}"]' for name in names)
    reply = 'm.reply({Action = "Join-Network-Notice", FQDN = m.FQDN, Data = table.concat(t, " ")})'
    process.run(f'Handlers.add("j", "Join-Network", function(m) local t = {{{tags}}} {reply} end)')
    (notice,) = sent(process.send("Join-Network", tags=dict(JOIN)))
    assert notice["Data"] == " ".join(value for _, value in JOIN)
    assert ("FQDN", "g.example.org") in passed_on(notice)


@pytest.mark.parametrize(
    ("thrown", "text"),
    [
        ('{code = "no-funds", missing = 12}', '{code = "no-funds", missing = 12}'),
        ("{1, {a = true}, [5] = 'x'}", '{[1] = 1, [2] = {a = true}, [5] = "x"}'),
        ("{['a b'] = {}}", '{["a b"] = {}}'),
        ("setmetatable({code = 1}, {__index = print})", "{code = 1}"),
    ],
)
def test_the_error_shows_the_fields_of_a_table_that_was_thrown(
    process: LuaProcess, thrown: str, text: str
) -> None:
    process.run(f'Handlers.add("Buy", "Buy", function() error({thrown}) end)')
    assert (process.send("Buy").error or "").endswith(text)
    process.run(f'Handlers.add("Wait", "Wait", function() Receive("Go") error({thrown}) end)')
    process.send("Wait")
    assert (process.send("Go").error or "").endswith(text)
    assert (process.eval(f"error({thrown})").error or "").endswith(text)


def test_a_table_that_contains_itself_or_very_much_is_shown_in_part(process: LuaProcess) -> None:
    thrown = 't = {} for i = 1, 2000 do t[i] = t end t.text = ("x"):rep(100000) error(t)'
    error = process.eval(thrown).error or ""
    assert "{[1] = {[1] = {" in error and len(error) < 20_000
    assert process.eval("error(setmetatable({}, {__tostring = error}))").error
