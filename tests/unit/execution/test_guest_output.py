"""Whatever a guest answers is served in the contract's shape."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoray.execution.guest_output import UNREADABLE, to_result
from aoray.vm.engines import ENGINES, NEWEST
from aoray.vm.interface import Outcome
from aoray.vm.wasm.guest import GuestAnswer
from aoray.vm.wasm.instance import judged

KEYS = ["Messages", "Assignments", "Spawns", "Output", "GasUsed"]
EMPTY: dict[str, Any] = {"Output": "", "Messages": [], "Spawns": [], "Assignments": []}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
entries = st.dictionaries(
    st.sampled_from(
        ["Target", "Data", "Anchor", "Tags", "Processes", "Message", "Exclude", "BaseLayer", "x"]
    ),
    json_values,
)
boxes = st.lists(entries | json_values, max_size=4)


def result_of(**response: Any) -> dict[str, Any]:
    return dict(orjson.loads(to_result(Outcome(EMPTY | response, None, 7)).result))


def test_a_good_result_is_served_as_it_is() -> None:
    message = {"Target": "t", "Data": "d", "Anchor": "a", "Tags": [{"name": "n", "value": "v"}]}
    assignment = {"Processes": ["p"], "Message": "m", "BaseLayer": True, "Exclude": ["Data"]}
    outcome = Outcome(
        EMPTY | {"Output": {"data": "2"}, "Messages": [message], "Assignments": [assignment]}, None, 7
    )
    result, has_error, has_outbox = to_result(outcome)
    outbox = {"Messages": [message], "Assignments": [assignment], "Spawns": []}
    assert orjson.loads(result) == outbox | {"Output": {"data": "2"}, "GasUsed": 7}
    assert list(orjson.loads(result)) == KEYS
    assert (has_error, has_outbox) == (False, True)
    assert to_result(Outcome(EMPTY, None, 0)).has_outbox is False


def test_an_error_comes_with_an_empty_outbox() -> None:
    outcome = Outcome(EMPTY | {"Messages": [{"Target": "t"}], "Error": "sorry"}, "sorry", 7)
    result, has_error, has_outbox = to_result(outcome)
    assert list(orjson.loads(result)) == [*KEYS, "Error"]
    assert orjson.loads(result) == {**EMPTY, "GasUsed": 7, "Error": "sorry"}
    assert (has_error, has_outbox) == (True, False)


@given(json_values, boxes, boxes, boxes)
def test_the_shape_is_right_whatever_the_guest_says(
    output: Any, messages: list[Any], spawns: list[Any], assignments: list[Any]
) -> None:
    result = result_of(Output=output, Messages=messages, Spawns=spawns, Assignments=assignments)
    assert list(result) == KEYS
    assert isinstance(result["Output"], str | dict | list)
    for entry in [entry for key in KEYS[:3] for entry in result[key]]:
        assert isinstance(entry, dict)
        for tag in entry.get("Tags", []):
            assert isinstance(tag["name"], str)
            assert isinstance(tag["value"], str)
        assert all(isinstance(each, str) for each in entry.get("Processes", []))


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (1.5, "1.5"), (True, True), (None, ""), ({"a": [1]}, '{"a":[1]}'), ("x", "x")],
)
def test_wrong_types_become_text(value: Any, text: Any) -> None:
    tags = [{"name": "n", "value": value}, "no", {"name": 1}]
    [message] = result_of(Messages=[{"Data": value, "Tags": tags}])["Messages"]
    assert message["Data"] == text
    assert message["Tags"] == [{"name": "n", "value": text if isinstance(text, str) else "true"}]


def test_what_is_nested_too_deeply_becomes_text() -> None:
    deep: Any = "x"
    for _ in range(600):
        deep = [deep]
    result = result_of(
        Output={"data": deep}, Messages=[{"Data": deep, "Tags": [{"name": "n", "value": deep}]}]
    )
    assert result["Output"] == result["Messages"][0]["Data"] == UNREADABLE
    assert result["Messages"][0]["Tags"][0]["value"] == UNREADABLE


@pytest.mark.parametrize("head", [b'{"ok":false,"response":', b'{"ok":true,"response":{"Error":'])
def test_an_error_nested_too_deeply_is_still_an_error(head: bytes) -> None:
    answer = head + b"[" * 600 + b"]" * 600 + b"}" * head.count(b"{")
    result, has_error, _ = to_result(judged(GuestAnswer(answer, None, 1), ENGINES[NEWEST]))
    assert has_error
    assert "nested too deeply" in orjson.loads(result)["Error"]


def test_the_bytes_of_a_result_stay_forever() -> None:
    """Their hashes are signed (protocol/attestations.py): to write them otherwise makes true ones false."""
    response = {
        "Spawns": [],
        "Messages": [{"Target": "t", "Tags": [{"value": "v", "name": "n"}], "Data": "ü"}],
        "Assignments": [{"Processes": ["p"], "Message": "m"}],
        "Output": {"print": True, "data": [1, 2.5]},
    }
    assert to_result(Outcome(response, None, 7)).result.decode() == (
        '{"Messages":[{"Target":"t","Tags":[{"name":"n","value":"v"}],"Data":"ü"}],'
        '"Assignments":[{"Processes":["p"],"Message":"m"}],"Spawns":[],'
        '"Output":{"print":true,"data":[1,2.5]},"GasUsed":7}'
    )
    assert to_result(Outcome(response, "no", 8)).result.decode() == (
        '{"Messages":[],"Assignments":[],"Spawns":[],"Output":"","GasUsed":8,"Error":"no"}'
    )
