"""What goes in and comes back: tags as they are written, and what a notebook shows."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pytest

import aoray
from aoray.client.models import result_of, tags_of
from aoray.client.slots import slot_of
from aoray.client.unit_client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519

PROCESS = "A" * 43


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        ("", ""),
        (0, "0"),
        (-5, "-5"),
        (10**30, "1" + "0" * 30),
        (1.5, "1.5"),
        (1e22, "1" + "0" * 22),
        (-1e-9, "-0.000000001"),
        (Decimal("1E-9"), "0.000000001"),
        (Decimal("12.50"), "12.50"),
        (numpy.int64(7), "7"),
        (numpy.float32(0.5), "0.5"),
    ],
)
def test_numbers_are_sent_as_decimal_text(value: Any, text: str) -> None:
    assert tags_of({"Quantity": value}) == tags_of([("Quantity", value)]) == [("Quantity", text)]


NO_VALUES = [True, False, None, b"x", [1], {"a": 1}, 1j, float("nan"), float("inf"), Fraction(1, 3), object()]
NO_VALUES += [Decimal("NaN"), numpy.bool_(True)]


@pytest.mark.parametrize("value", NO_VALUES, ids=lambda value: type(value).__name__)
def test_what_is_neither_text_nor_a_number_is_refused_by_the_tags_name(value: Any) -> None:
    with pytest.raises(TypeError, match="value of tag Quantity must be text or a number"):
        tags_of({"Name": "x", "Quantity": value})


@pytest.mark.parametrize(
    "given", ["text", [("a", "b", "c")], {5: "x"}, [{"name": "A", "value": "b"}], ["ab"]]
)
def test_what_is_not_a_pair_is_not_a_tag(given: Any) -> None:
    with pytest.raises(TypeError, match="a tag is a name"):
        tags_of(given)


@pytest.mark.parametrize("data", [5, None, {"a": 1}, ["x"]])
def test_data_is_text_or_bytes(data: Any) -> None:
    client = Client("http://127.0.0.1:9", generate_ed25519())
    with pytest.raises(TypeError, match="data must be text or bytes"):
        client.message(PROCESS, data=data)


def test_a_result_shows_what_it_says_and_not_everything() -> None:
    raw = {
        "Output": {"data": "\x1b[32m42\x1b[0m", "prompt": "x" * 1000},
        "Messages": [
            {"Target": "you", "Data": "y" * 1000, "Tags": tags("Data-Protocol", "Action", "Ticker")}
        ],
    }
    shown = repr(result_of(raw, PROCESS, "m"))
    assert shown.startswith("Result(output='42', messages=(Sent(target='you', tags={'Action': ")
    assert "Ticker" in shown and "Data-Protocol" not in shown and len(shown) < 500
    failed = repr(result_of({"Error": "\n\n\x1b[31merror:\n\x1b[0mit is bad"}, PROCESS))
    assert failed == r"Result(error='error:\nit is bad')"
    assert repr(result_of({}, PROCESS)) == "Result(output='')"


def tags(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "value": "v"} for name in names]


def test_a_slot_and_a_wallet_show_who_and_what() -> None:
    assignment = {"id": "a", "tags": [{"name": "Nonce", "value": "7"}]}
    message = {"id": "m", "owner": {"address": "o"}, "tags": tags("Type", "Action"), "data": "d" * 1000}
    shown = repr(slot_of({"assignment": assignment, "message": message}, PROCESS))
    assert shown.startswith("Slot(nonce=7, message='m', owner='o', tags={'Action': 'v'}, data='ddd")
    assert len(shown) < 400
    wallet = aoray.new_wallet()
    assert repr(wallet) == f"<Ed25519Signer {wallet.address}>"


def test_the_package_lists_all_that_it_has() -> None:
    assert set(aoray.__all__) <= set(dir(aoray))
    for name in aoray.__all__:
        assert getattr(aoray, name) is not None
    assert aoray.errors.ClientError.__name__ == "ClientError"
