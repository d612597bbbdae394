"""Cursors, as aoconnect passes and aos decodes them."""

from __future__ import annotations

import base64
import json

import pytest

from aoray.errors import MalformedInput
from aoray.gateway.legacy.cursors import Position, cursor, parse_cursor, sort_of


def test_a_cursor_is_base64_of_json_with_the_fields_that_aos_reads() -> None:
    fields = json.loads(base64.b64decode(cursor(1700000000000, 12, "DESC")))
    assert fields == {"timestamp": 1700000000000, "ordinate": "12", "cron": None, "sort": "DESC"}
    assert list(fields) == ["timestamp", "ordinate", "cron", "sort"]


def test_a_cursor_points_where_it_was_made() -> None:
    assert parse_cursor(cursor(1700000000000, 12, "DESC"), "from") == Position(1700000000000, "DESC")


def test_a_number_is_a_timestamp() -> None:
    assert parse_cursor("1700000000000", "from") == Position(1700000000000, None)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "-1",
        "1e3",
        "[]",
        "bnVsbA==",
        "e30=",
        "9" * 30,
        base64.b64encode(b'{"sort":"UP","timestamp":1}').decode(),
        base64.b64encode(b'{"timestamp":' + b"[" * 1010 + b"]" * 1010 + b"}").decode(),
        base64.b64encode(b'{"timestamp":1,"sort":' + b"[" * 1010 + b"]" * 1010 + b"}").decode(),
    ],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_cursor(text, "from")
    assert caught.value.field in ("from", "sort")


def test_a_sort_is_one_of_two() -> None:
    assert (sort_of("ASC"), sort_of("DESC")) == ("ASC", "DESC")
    with pytest.raises(MalformedInput):
        sort_of("asc")
