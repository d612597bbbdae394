"""What the command line says of results and crons, in words."""

from __future__ import annotations

from typing import Any

import pytest

from aoray.wording import describe, describe_crons


def test_what_a_token_answers_in_tags_is_seen() -> None:
    wiring = {"Data-Protocol": "ao", "Variant": "ao.TN.1", "Type": "Message", "Reference": "1"}
    tags = [{"name": name, "value": value} for name, value in (wiring | {"Ticker": "NEW"}).items()]
    assert describe({"Messages": [{"Target": "you", "Tags": tags, "Data": "7"}]}) == "sent: you Ticker=NEW 7"


@pytest.mark.parametrize("error", ["it is bad", "\n\nerror:\nit is bad"], ids=["plain", "as Lua says it"])
def test_an_error_is_said_once(error: str) -> None:
    assert describe({"Error": error}).split() == ["error:", "it", "is", "bad"]


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
