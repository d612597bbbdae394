"""What the command line says of results and crons, in words."""

from __future__ import annotations

from typing import Any

import pytest

from aoray.cli.render import describe, describe_crons
from aoray.client.models import result_of
from aoray.protocol.outputs import output_of


def test_what_a_token_answers_in_tags_is_seen() -> None:
    wiring = {"Data-Protocol": "ao", "Variant": "ao.TN.1", "Type": "Message", "Reference": "1"}
    tags = [{"name": name, "value": value} for name, value in (wiring | {"Ticker": "NEW"}).items()]
    assert describe({"Messages": [{"Target": "you", "Tags": tags, "Data": "7"}]}) == "sent: you Ticker=NEW 7"


@pytest.mark.parametrize("error", ["it is bad", "\n\nerror:\nit is bad"], ids=["plain", "as Lua says it"])
def test_an_error_is_said_once(error: str) -> None:
    assert describe({"Error": error}).split() == ["error:", "it", "is", "bad"]


def test_who_is_out_of_compute_is_told_the_way_out() -> None:
    said = describe({"Error": "out of compute"})
    assert said.startswith("error: out of compute: ")
    assert "Compute-Limit" in said


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ({"unit": "ms", "next": 1_795_250_539_000}, "next at 2026-11-21 08:42:19 UTC"),
        ({"unit": "blocks", "next": 7}, "next at block 7"),
        ({"unit": "ms"}, "due when it is monitored"),
    ],
)
def test_when_a_cron_is_due_is_said_for_people(cron: dict[str, Any], said: str) -> None:
    found = {"process": "p", "monitored": True, "crons": [{"cron": "0-5-seconds"} | cron]}
    assert describe_crons(found) == f"p ticks\n0-5-seconds: {said}"


def test_a_process_without_crons_is_not_said_to_tick() -> None:
    assert "no Cron-Interval" in describe_crons({"process": "p", "monitored": True, "crons": []})


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (None, ""),
        ("", ""),
        ("text", "text"),
        (5, "5"),
        (True, "true"),
        (False, "false"),
        ([1], "[\n  1\n]"),
        ({}, ""),
        ({"data": "text", "prompt": "> ", "print": True}, "text"),
        ({"data": None, "prompt": "> "}, ""),
        ({"data": 0}, "0"),
        ({"data": {"output": "text", "prompt": "> ", "json": "undefined"}}, "text"),
        ({"data": {"prompt": "> "}}, ""),
        ({"data": {"balance": 1}}, '{\n  "balance": 1\n}'),
        ({"prompt": "> ", "print": True}, ""),
        ({"balance": 1}, '{\n  "balance": 1\n}'),
    ],
)
def test_output_is_found_in_every_shape(output: object, text: str) -> None:
    assert output_of({"Output": output}) == text
    assert result_of({"Output": output}, "p").output == text
    assert describe({"Output": output}) == (text or "(no output)")
