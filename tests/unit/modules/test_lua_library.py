"""The library that programs find: how values are shown, JSON read and written, handlers kept."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lua_process import BOB, CAROL, PROCESS, LuaProcess, sent, shown, tags_of

from aoray.vm.wasm import WasmModule

RED, GREEN, BLUE, RESET = "\x1b[31m", "\x1b[32m", "\x1b[34m", "\x1b[0m"
NUMBERS = {number: f"{BLUE}{number}{RESET}" for number in (1, 2, 3)}
NAMES_OF_HANDLERS = (
    "local n = {} for i, h in ipairs(Handlers.list) do n[i] = h.name end return table.concat(n, ' ')"
)
Calculator = Callable[[str], str]

SHOWN = {
    "{}": "{  }",
    "{1, 'a'}": f'{{ {NUMBERS[1]}, {GREEN}"a"{RESET} }}',
    "{a = 1}": f"{{\n   {RED}a{RESET} = {NUMBERS[1]}\n}}",
    "{a = {b = 'x'}}": f'{{\n   {RED}a{RESET} = {{\n     {RED}b{RESET} = {GREEN}"x"{RESET}\n  }}\n}}',
    "{{1}, {2}}": f"{{\n  {{ {NUMBERS[1]} }},\n  {{ {NUMBERS[2]} }}\n }}",
    "{{b = 1}}": f"{{\n  {{\n     {RED}b{RESET} = {NUMBERS[1]}\n  }}\n }}",
    "{true, {}}": f"{{\n  {BLUE}true{RESET},\n  {{  }}\n }}",
    "(function() local t = {} t.t = t return t end)()": f"{{\n   {RED}t{RESET} = <circular reference>\n}}",
    "1 + 1": "2",
    "true": "true",
    "false": "",
    "nil": "",
    "'text'": "text",
    "1e15": "1e+15",
    "3.0": "3.0",
    "'10' + 5": "15.0",
    "print('a') return nil": "a",
    "print('a') return 5": "a\n5",
    "Dump(5)": '"5"',
    "Dump({1, 'x', k = {}, ['a b'] = 3, ['end'] = true})": (
        '{\n    [1] = 1,\n    [2] = "x",\n    ["a b"] = 3,\n    ["end"] = true,\n    k = {}\n}'
    ),
    "require('.pretty').tprint({a = 1, b = {c = true}})": "a: 1\nb: \n c: true\n",
    "Utils.reduce(function(a, v, i) return a + v * i end, 0, {1, 2, 3})": "14",
    "Utils.map(function(x) return x + 1 end)({1, 2})": f"{{ {NUMBERS[2]}, {NUMBERS[3]} }}",
    "Utils.compose(function(x) return x + 1 end, function(x) return x * 2 end)(3)": "7",
    "tostring(Utils.includes('b', {'a', 'b'}))": "true",
    "Utils.curry(function(a, b, c) return a + b + c end, 3)(1)(1)(1)": "3",
    "Utils.normalize('foo_bAR')": "Foo-Bar",
    "tostring(Utils.matchesSpec({A = 'a10b'}, {A = '%d+'}))": "true",
    "tostring(Utils.matchesSpec({A = 'xD'}, {A = {'no', 'Xd'}}))": "true",
    "tostring(Utils.matchesSpec({A = 'x'}, {A = 'x', B = '_'}))": "false",
}


@pytest.mark.parametrize(("source", "wanted"), SHOWN.items())
def test_what_the_prompt_shows(calculator: Calculator, source: str, wanted: str) -> None:
    assert calculator(source) == wanted


JSON_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, min_size=1, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(value=JSON_VALUES)
def test_json_survives_both_ways(calculator: Calculator, value: object) -> None:
    text = json.dumps(json.dumps(value))
    encoded = calculator(f"return '=' .. require('json').encode(require('json').decode({as_lua(text)}))")
    assert json.loads(encoded[1:]) == value


def as_lua(text: str) -> str:
    """A JSON string literal as a Lua one."""
    return '"' + "".join(f"\\{byte:03}" for byte in str(json.loads(text)).encode()) + '"'


@pytest.mark.parametrize(
    ("source", "wanted"),
    {
        "json.encode({})": "[]",
        "json.encode({1, 2, {a = {}}})": '[1,2,{"a":[]}]',
        "json.encode(2^53)": "9.007199254741e+15",
        "json.encode(1.0)": "1",
        "json.encode({f = print})": "{}",
        "json.encode(nil)": "null",
        'json.encode("a/b\\n\\1")': '"a/b\\n\\u0001"',
        'json.decode("[1,null,3]")[3]': "3",
        'json.decode("0x10")': "16",
        'math.type(json.decode("1.0"))': "float",
        'json.decode("[1,]")[1]': "1",
        "json.decode('\"\\\\ud83d\\\\ude00\"')": "😀",
    }.items(),
)
def test_json_as_programs_know_it(calculator: Calculator, source: str, wanted: str) -> None:
    assert calculator(f'local json = require("json") return tostring({source})') == wanted


@pytest.mark.parametrize(
    ("source", "error"),
    {
        "json.encode({nil, 2})": "invalid table: mixed or invalid key types",
        "json.encode({1, nil, 3})": "invalid table: sparse array",
        "json.encode(0 / 0)": "unexpected number value '",
        "json.encode(print)": "unexpected type 'function'",
        'json.decode("1 2")': "trailing garbage at line 1 col 3",
        'json.decode("")': "unexpected character '' at line 1 col 1",
        'json.decode("{")': "expected string for key at line 1 col 2",
        "json.decode('{\"a\" 1}')": "expected ':' after key at line 1 col 6",
        'json.decode("[1\\n 2]")': "expected ']' or ',' at line 2 col 3",
        'json.decode("tru")': "invalid literal 'tru' at line 1 col 1",
        'json.decode("-")': "invalid number '-' at line 1 col 1",
        "json.decode(5)": "expected argument of type string, got number",
    }.items(),
)
def test_json_says_what_is_wrong(lua_module: WasmModule, source: str, error: str) -> None:
    found = LuaProcess(lua_module).eval(f'local json = require("json") return {source}').error
    assert found is not None
    assert error in found


def test_handlers_stand_in_the_order_they_were_put(process: LuaProcess) -> None:
    process.run("f = function() end")
    for call in ("add('a', f)", "append('b', 'B', f)", "prepend('c', 'C', f)", "once('d', 'D', f)"):
        process.run(f"Handlers.{call}")
    process.run("Handlers.once('E', f) Handlers.remove('c')")
    process.run("Handlers.before('b').add('x', 'X', f) Handlers.after('a').add('y', 'Y', f)")
    assert process.run(NAMES_OF_HANDLERS) == "_once_0 d _eval _default a y x b"
    process.run("Handlers.add('a', 'Other', f) Handlers.remove('nobody')")
    assert process.run(NAMES_OF_HANDLERS) == "_once_0 d _eval _default a y x b"


def test_a_pattern_decides_whether_later_handlers_run(process: LuaProcess) -> None:
    answers = {"p": "'continue'", "b": "1", "n": "0", "s": "'skip'", "a": "true", "c": "true"}
    for name, answer in answers.items():
        pattern = f"function(m) return m.Action == 'Go' and {answer} end"
        process.run(f"Handlers.add('{name}', {pattern}, function() print('{name}') end)")
    assert shown(process.send("Go")) == "p\nb\na"
    process.run("Handlers.remove('a') Handlers.remove('c')")
    assert shown(process.send("Go")).startswith("p\nb\n\x1b[90mNew Message From")


def test_a_handler_with_a_number_of_runs_goes_away(process: LuaProcess) -> None:
    process.run("Handlers.add('two', 'Two', function() print('ran') end, 2)")
    assert [shown(process.send("Two"))[:3] for _ in range(3)] == ["ran", "ran", "\x1b[9"]


def test_a_pattern_without_an_answer_is_an_error(process: LuaProcess) -> None:
    process.run(
        "Handlers.add('bad', function(m) if m.Action == 'X' then return nil end return false end, print)"
    )
    assert "must give a boolean, number or string" in (process.send("X").error or "")
    assert process.send("Y").error is None


def test_waiting_for_answers_in_any_order(process: LuaProcess) -> None:
    body = f"local r = Send({{Target = '{CAROL}', Action = 'Q'}}).receive() m.reply({{Data = r.Data}})"
    process.run(f"Handlers.add('ask', 'Ask', function(m) {body} end)")
    for reference in ("1", "2"):
        assert tags_of(sent(process.send("Ask", tags={"Reference": reference}))[0])["Reference"] == reference
    for mine, theirs in (("2", "2"), ("1", "1")):
        (answer,) = sent(process.send("A", f"for {theirs}", sender=CAROL, tags={"X-Reference": mine}))
        assert (answer["Target"], answer["Data"]) == (BOB, f"for {theirs}")
        assert tags_of(answer)["X-Reference"] == theirs
    assert "New Message" in shown(process.send("A", sender=CAROL, tags={"X-Reference": "1"}))


def test_waiting_survives_a_caught_error_and_a_process_can_ask_itself(process: LuaProcess) -> None:
    process.run("local ok, e = pcall(function() error(Receive('Go').Data) end) print(tostring(ok) .. e)")
    assert shown(process.send("Go", "why")) == "false" + "aos:1: why".replace("aos", '[string "aos"]')
    process.run("Handlers.add('me', 'Me', function(m) m.reply({Data = 'self'}) end)")
    process.run("print(Send({Target = ao.id, Action = 'Me'}).receive().Data)")
    (question,) = sent(process.send("Me", sender=PROCESS, tags={"Reference": "1"}))
    assert question["Target"] == PROCESS
    assert shown(process.send(sender=PROCESS, data="self", tags={"X-Reference": "1"})) == "self"
