"""The built-in module answers as aos 2.0.6 was seen to: lua-scenarios.json, compared by its own rules.

`about` and `compare` in that file are the rules. The prompt's name and version differ, of course. What the
file records of aos's accidents, where we do better on purpose, is in `BETTER`, with the reason.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from lua_process import to_json

from aoray.vm.interface import Limits, Outcome
from aoray.vm.wasm import WasmModule
from aoray.vm.wasm.instance import WasmInstance

VECTORS = json.loads((Path(__file__).parent / "lua-scenarios.json").read_text())
SCENARIOS: list[dict[str, Any]] = VECTORS["scenarios"]

Replacements = dict[str, str]
BETTER: dict[tuple[str, str], tuple[Replacements, str]] = {
    ("core-message-shape", "Insp"): (
        {
            "Timestamp=999|X-Abc=3": "Timestamp=1700000003000|X-ABC=3|action=Insp|fooBar=2|foo_bar=1",
            '"Action=Insp|': '"',
            "Epoch=0|Foo-Bar=1|Foobar=2|": "Epoch=0|",
            "TAGS Action=Insp|": "TAGS ",
            "Data=spoof|Foo-Bar=1|Foobar=2|": "Data=spoof|",
            "Type=Message|X-Abc=3": "Type=Message|X-ABC=3|action=Insp|fooBar=2|foo_bar=1",
            "Type=Message|Action=Insp|Foo-Bar=1|Foobar=2|X-Abc=3": (
                "Type=Message|action=Insp|foo_bar=1|fooBar=2|X-ABC=3"
            ),
        },
        "a sender's tag cannot change the time that the host gave, and its name keeps its spelling",
    ),
    ("core-handlers-reply-forward", "Fwd"): (
        {'"Sdk"': '"SDK"'},
        "a name that is passed on keeps its spelling",
    ),
}
"""(scenario, step) -> what aos shows and what is right, and why."""

PROGRAM = "$program"
"""Steps with the text of a program that is not there cannot be run: none in this version of the file."""


def test_every_step_can_be_run() -> None:
    steps = [step for scenario in SCENARIOS for step in scenario["steps"]]
    assert len(steps) == 120
    assert not [step["label"] for step in steps if PROGRAM in str(step["message"])]
    known = {(scenario["name"], step["label"]) for scenario in SCENARIOS for step in scenario["steps"]}
    assert known >= BETTER.keys()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_scenario(scenario: dict[str, Any], lua_module: WasmModule) -> None:
    process = WasmInstance.boot(lua_module, Limits())
    env = json.loads(json.dumps(VECTORS["env"]))
    env["Process"]["Tags"] = scenario.get("processTags", env["Process"]["Tags"])
    for step in scenario["steps"]:
        outcome = process.evaluate(to_json(step["message"]), to_json(env))
        wanted = step["expect"]
        better, _ = BETTER.get((scenario["name"], step["label"]), ({}, ""))
        if "Error" in wanted:
            check_error(outcome, wanted)
        else:
            text = json.dumps(wanted)
            for old, new in better.items():
                assert old in text
                text = text.replace(old, new)
            assert comparable(outcome.response) == comparable(json.loads(text))


def check_error(outcome: Outcome, wanted: dict[str, Any]) -> None:
    """The last section counts, without the places in library files."""
    assert outcome.error is not None
    assert without_places(outcome.error) == without_places(wanted["Error"])
    assert outcome.error.endswith(wanted.get("ErrorEndsWith", ""))
    if "userLine" in wanted:
        assert re.findall(r":(\d+): ", outcome.error)[-1] == str(wanted["userLine"])
        assert (
            outcome.error.split("error:\n")[0] == wanted["Error"].split("error:\n")[0]
            or "traceback" in outcome.error
        )


def without_places(error: str) -> str:
    return re.sub(r'\[string "[^"]*"\]:\d+: ', "", error.rpartition("error:\n")[2])


def comparable(response: dict[str, Any]) -> dict[str, Any]:
    """A response without what is not normative, and the tags after the fixed ones in an order of our own."""
    output = {name: value for name, value in response["Output"].items() if name != "test"}
    output["prompt"] = re.sub(r"@\x1b\[34m[^\x1b]*", "@", output["prompt"])
    outbox = {kind: [comparable_item(item) for item in response[kind]] for kind in ("Messages", "Spawns")}
    return {"Output": output, "Assignments": response["Assignments"], **outbox}


def comparable_item(item: dict[str, Any]) -> dict[str, Any]:
    if "fixedTags" in item:
        fixed, user = item["fixedTags"], item["userTags"]
    else:
        tags = [[tag["name"], tag.get("value")] for tag in item["Tags"]]
        count = 4 if ["Type", "Message"] in tags[:3] else 7
        fixed, user = tags[:count], tags[count:]
    rest = {name: value for name, value in item.items() if name in ("Target", "Data", "Anchor")}
    return {"fixedTags": fixed, "userTags": sorted(user, key=str), **rest}
