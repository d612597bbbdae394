"""Bundles: what is packed unpacks; a header that lies is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aoray.errors import ClientError, MalformedInput, TooLarge
from aoray.limits import BUNDLE_BYTES_MAX, BUNDLE_ITEMS_MAX, ITEM_BYTES_MAX
from aoray.protocol.ans104.bundles import offsets, pack, unpack
from aoray.protocol.ans104.items import build
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.tags import Tag

SIGNER = Ed25519Signer(b"\7" * 32)
ITEMS = [build(SIGNER, tags=[Tag("n", str(n))], data=b"d" * n) for n in range(3)]
BUNDLE = pack(ITEMS)


def number(value: int) -> bytes:
    return value.to_bytes(32, "little")


def spliced(at: int, part: bytes) -> bytes:
    return BUNDLE[:at] + part + BUNDLE[at + len(part) :]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_what_is_packed_unpacks_in_order(count: int) -> None:
    assert unpack(pack(ITEMS[:count])) == ITEMS[:count]


def test_an_item_larger_than_people_may_post_still_unpacks() -> None:
    """Modules come in bundles too."""
    big = build(SIGNER, data=bytes(ITEM_BYTES_MAX))
    assert unpack(pack([big])) == [big]


FIRST_SIZE, FIRST_ID = len(ITEMS[0].raw), 32 + 32


@pytest.mark.parametrize(
    ("bundle", "field"),
    [
        (b"", "count"),
        (BUNDLE[:31], "count"),
        (spliced(0, number(4)), "items[0].signature_type"),
        (spliced(0, number(2)), "items[0].signature_type"),
        (spliced(0, number(2**255)), "count"),
        (spliced(0, number(10_000)), "count"),
        (spliced(32, number(2**255)), "items[0].size"),
        (spliced(32, number(FIRST_SIZE - 1)), "items[0].tags"),
        (spliced(32, number(FIRST_SIZE + 1)), "items[1].signature_type"),
        (spliced(32, number(0)), "items[0].signature_type"),
        (spliced(FIRST_ID, b"\0" * 32), "items[0].id"),
        (BUNDLE[:-1], "items[2].size"),
        (BUNDLE + b"x", "body"),
        (BUNDLE[:100], "count"),
    ],
)
def test_a_lying_bundle_names_the_part_at_fault(bundle: bytes, field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        unpack(bundle)
    assert caught.value.field == field
    if "." not in field:  # nothing of an item is wrong
        with pytest.raises(MalformedInput):
            offsets(bundle)


def test_the_header_says_where_each_item_is() -> None:
    assert {id: BUNDLE[slice(*place)] for id, place in offsets(BUNDLE).items()} == {
        item.id: item.raw for item in ITEMS
    }


def test_bounds_hold_in_both_directions() -> None:
    many = BUNDLE_ITEMS_MAX + 1
    with pytest.raises(TooLarge):
        pack([ITEMS[0]] * many)
    with pytest.raises(TooLarge):
        unpack(number(many) + bytes(64 * many))
    with pytest.raises(TooLarge):
        unpack(bytes(BUNDLE_BYTES_MAX + 1))
    with pytest.raises(TooLarge):
        pack([build(SIGNER, data=bytes(BUNDLE_BYTES_MAX))])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BUNDLE)), st.integers(0, 40), st.binary(max_size=40))
def test_mutations_unpack_or_are_a_client_error(at: int, cut: int, put: bytes) -> None:
    try:
        unpack(BUNDLE[:at] + put + BUNDLE[at + cut :])
    except ClientError as error:
        assert error.details["field"]
