"""Tags: what is looked up, what is encoded, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from item_strategies import avro, tags, zigzag

from aoray.errors import ClientError, MalformedInput, TooLarge
from aoray.limits import TAG_BYTES_MAX, TAG_NAME_BYTES_MAX, TAG_VALUE_BYTES_MAX, TAGS_MAX
from aoray.protocol.tags import Tag, all_of, ao_tag, as_json, decode_tags, encode_tags, first, from_json

END = zigzag(0)
A_B = avro([(b"a", b"b")])


@settings(deadline=None)
@given(tags)
def test_tags_come_back_from_avro_and_from_json(some: list[Tag]) -> None:
    assert decode_tags(encode_tags(some)) == tuple(some)
    assert from_json(as_json(some)) == tuple(some)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_tags_or_a_client_error_of_the_field_tags(encoded: bytes) -> None:
    try:
        decode_tags(encoded)
    except ClientError as error:
        assert error.details["field"] == "tags"


def test_blocks_as_avro_allows_them_are_read() -> None:
    counted = zigzag(-1) + zigzag(4) + A_B[1:]
    assert decode_tags(A_B + counted + A_B + END) == (Tag("a", "b"),) * 3
    assert decode_tags(END) == decode_tags(b"") == ()
    assert decode_tags(b"\x82\x00" + A_B[1:] + END) == (Tag("a", "b"),)  # a long spelling of 1


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        (A_B, "end within"),
        (A_B + END + b"x", "after"),
        (zigzag(2) + A_B[1:] + END, "end within"),
        (zigzag(1) + zigzag(2**62) + b"a", "beyond"),
        (zigzag(1) + zigzag(-1) + b"ab" + END, "beyond"),
        (zigzag(-1) + zigzag(5) + A_B[1:] + END, "as long as"),
        (zigzag(-1) + zigzag(-4) + A_B[1:] + END, "as long as"),
        (b"\xff" * 11, "too long"),
        (avro([(b"\xff", b"")]) + END, "UTF-8"),
        (avro([(b"a", "\ud800".encode("utf-8", "surrogatepass"))]) + END, "UTF-8"),
    ],
)
def test_lies_in_the_tags_are_named(encoded: bytes, why: str) -> None:
    with pytest.raises(MalformedInput, match=why) as caught:
        decode_tags(encoded)
    assert caught.value.field == "tags"


@pytest.mark.parametrize(
    "some",
    [
        [Tag("", "")] * (TAGS_MAX + 1),
        [Tag("n" * (TAG_NAME_BYTES_MAX + 1), "")],
        [Tag("", "é" * (TAG_VALUE_BYTES_MAX // 2 + 1))],
        [Tag("", "v" * TAG_VALUE_BYTES_MAX)] * (TAG_BYTES_MAX // TAG_VALUE_BYTES_MAX),
    ],
)
def test_bounds_hold_in_both_directions(some: list[Tag]) -> None:
    with pytest.raises(TooLarge):
        encode_tags(some)
    with pytest.raises(TooLarge):
        decode_tags(avro((name.encode(), value.encode()) for name, value in some) + END)


def test_what_is_just_within_the_bounds_passes() -> None:
    most = [Tag("n" * TAG_NAME_BYTES_MAX, "v" * TAG_VALUE_BYTES_MAX), *[Tag("", "")] * (TAGS_MAX - 1)]
    assert decode_tags(encode_tags(most)) == tuple(most)


@pytest.mark.parametrize("count", [2**40, -(2**40)])
def test_a_count_beyond_the_bound_is_refused_before_anything_is_read(count: int) -> None:
    with pytest.raises(TooLarge):
        decode_tags(zigzag(count) + zigzag(1) + b"\0" * 64)


def test_a_lone_surrogate_is_not_text() -> None:
    with pytest.raises(MalformedInput, match="not text"):
        encode_tags([Tag("a", "\ud800")])


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "tags"),
        ({}, "tags"),
        ([{"name": "a", "value": "b"}, []], "tags[1]"),
        ([{"name": "a"}], "tags[0]"),
        ([{"name": "a", "value": 1}], "tags[0]"),
    ],
)
def test_json_that_is_not_tags_is_named(value: object, field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        from_json(value)
    assert caught.value.field == field


def test_the_first_and_all_of_a_name() -> None:
    some = [Tag("a", ""), Tag("A", "2"), Tag("a", "3")]
    assert first(some, "a") == "" and first(some, "A") == "2"
    assert first(some, "b") is None and first(some, "b", "none") == "none"
    assert all_of(some, "a") == ["", "3"] and all_of(some, "b") == []


AO, OTHER = Tag("Data-Protocol", "ao"), Tag("Data-Protocol", "atomic-asset")


@pytest.mark.parametrize(
    ("some", "found"),
    [
        ([Tag("Type", "mine"), AO, Tag("Type", "Message")], "Message"),
        ([AO, Tag("Type", "Message"), OTHER, Tag("Type", "asset")], "Message"),
        ([OTHER, Tag("Type", "asset"), AO, Tag("Type", "Message")], "Message"),
        ([Tag("Type", "early"), AO, OTHER, Tag("Type", "asset")], "early"),
        ([AO, Tag("Type", "one"), AO, Tag("Type", "two")], "one"),
        ([AO, AO, Tag("Type", "two")], "two"),
        ([Tag("Type", "only")], "only"),
        ([AO, Tag("Type", "")], ""),
        ([AO], None),
        ([], None),
    ],
)
def test_protocol_tags_are_those_of_the_ao_section(some: list[Tag], found: str | None) -> None:
    assert ao_tag(some, "Type") == found
    assert ao_tag(some, "Type", "default") == ("default" if found is None else found)
