"""Tags: ordered pairs of texts that keep duplicates and letter case, encoded as Avro or as JSON.

Tags come from strangers. Decoding checks every count and length, enforces the bounds of `limits.py`, and
refuses what JSON can't represent (bytes that are not UTF-8). The tags of a data item are never decoded and
encoded again, since the signature covers the received Avro bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, overload

from aoray.errors import MalformedInput, TooLarge
from aoray.limits import TAG_BYTES_MAX, TAG_NAME_BYTES_MAX, TAG_VALUE_BYTES_MAX, TAGS_MAX

_VARINT_BYTES_MAX = 10  # 64 bits, seven at a time
_JSON_HINT = 'Tags are [{"name": text, "value": text}, …].'
_AVRO_HINT = "Tags are an Avro array of records of two strings, name and value (ANS-104)."


class Tag(NamedTuple):
    """One tag. A name may occur more than once among the tags of an item."""

    name: str
    value: str


Tags = tuple[Tag, ...]


@overload
def first(tags: Sequence[Tag], name: str) -> str | None: ...
@overload
def first(tags: Sequence[Tag], name: str, default: str) -> str: ...
def first(tags: Sequence[Tag], name: str, default: str | None = None) -> str | None:
    """Return the value of the first tag with this name, or `default`."""
    for tag in tags:
        if tag[0] == name:
            return tag[1]
    return default


def all_of(tags: Sequence[Tag], name: str) -> list[str]:
    """Return the values of all tags with this name, in order."""
    return [tag.value for tag in tags if tag.name == name]


@overload
def ao_tag(tags: Sequence[Tag], name: str) -> str | None: ...
@overload
def ao_tag(tags: Sequence[Tag], name: str, default: str) -> str: ...
def ao_tag(tags: Sequence[Tag], name: str, default: str | None = None) -> str | None:
    """Return the value of a protocol tag (`Type`, `Variant`, …): from the ao section, else the first of all.

    A user's own tag may have the name of a protocol tag; clients put protocol tags after `Data-Protocol=ao`.
    """
    value = first(_ao_section(tags), name)
    if value is None:
        value = first(tags, name)
    return default if value is None else value


def _ao_section(tags: Sequence[Tag]) -> Sequence[Tag]:
    """Return the tags from `Data-Protocol=ao` up to another `Data-Protocol`."""
    start = next((at for at, tag in enumerate(tags) if tag == ("Data-Protocol", "ao")), len(tags))
    for at in range(start + 1, len(tags)):
        if tags[at][0] == "Data-Protocol" and tags[at][1] != "ao":
            return tags[start:at]
    return tags[start:]


def as_json(tags: Iterable[Tag]) -> list[dict[str, str]]:
    """Return tags in their JSON form: `[{"name", "value"}]`."""
    return [{"name": name, "value": value} for name, value in tags]


def from_json(value: object, *, field: str = "tags") -> Tags:
    """Read tags from their JSON form. Raises `MalformedInput` if it is not a list of `{"name": text, "value":
    text}`."""
    if not isinstance(value, list):
        raise MalformedInput(f"{field} is not a list of tags", field=field, hint=_JSON_HINT)
    return tuple(_tag_of(each, f"{field}[{at}]") for at, each in enumerate(value))


def _tag_of(value: object, field: str) -> Tag:
    if isinstance(value, dict):
        name, text = value.get("name"), value.get("value")
        if isinstance(name, str) and isinstance(text, str):
            return Tag(name, text)
    raise MalformedInput(f"{field} is not a tag", field=field, hint=_JSON_HINT)


def encode_tags(tags: Sequence[Tag]) -> bytes:
    """Encode tags as the Avro array of a data item (ANS-104); no tags give no bytes. Raises `TooLarge` beyond
    the bounds of `limits.py`."""
    if not tags:
        return b""
    if len(tags) > TAGS_MAX:
        raise TooLarge(f"an item has at most {TAGS_MAX} tags", field="tags", tags_max=TAGS_MAX)
    parts = [_varint(len(tags))]
    for name, value in tags:
        parts += _text(name, TAG_NAME_BYTES_MAX, "name")
        parts += _text(value, TAG_VALUE_BYTES_MAX, "value")
    encoded = b"".join((*parts, b"\0"))
    if len(encoded) > TAG_BYTES_MAX:
        raise TooLarge(f"the tags of an item take at most {TAG_BYTES_MAX} bytes", field="tags")
    return encoded


def _text(text: str, bytes_max: int, what: str) -> tuple[bytes, bytes]:
    try:
        value = text.encode()
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON allows
        raise MalformedInput(f"the {what} of a tag is not text", field="tags") from error
    if len(value) > bytes_max:
        raise TooLarge(f"the {what} of a tag has at most {bytes_max} bytes", field="tags")
    return _varint(len(value)), value


def _varint(number: int) -> bytes:
    """Return a count or length (never negative) as Avro's zig-zag variable-length integer."""
    rest, out = number << 1, bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def decode_tags(encoded: bytes) -> Tags:
    """Decode the tags of an Avro array (ANS-104). Raises `MalformedInput` or `TooLarge` with the field
    `tags`."""
    if not encoded:
        return ()
    if len(encoded) > TAG_BYTES_MAX:
        raise TooLarge(f"the tags of an item take at most {TAG_BYTES_MAX} bytes", field="tags")
    try:
        return _decode(encoded)
    except IndexError as error:
        raise MalformedInput("the tags end within a tag", field="tags", hint=_AVRO_HINT) from error
    except UnicodeDecodeError as error:
        raise MalformedInput("the name or value of a tag is not UTF-8", field="tags") from error


def _decode(encoded: bytes) -> Tags:
    """Decode Avro's blocks up to the empty block, which must end the bytes."""
    tags: list[Tag] = []
    count, at = _read_varint(encoded, 0)
    while count:
        end = -1
        if count < 0:  # such a block states its size in bytes
            size, at = _read_varint(encoded, at)
            count, end = -count, at + size
        if len(tags) + count > TAGS_MAX:
            raise TooLarge(f"an item has at most {TAGS_MAX} tags", field="tags", tags_max=TAGS_MAX)
        at = _decode_block(encoded, at, count, tags)
        if end not in (-1, at):
            raise MalformedInput("a block of tags is not as long as it states", field="tags", hint=_AVRO_HINT)
        count, at = _read_varint(encoded, at)
    if at != len(encoded):
        raise MalformedInput("there are bytes after the tags", field="tags", hint=_AVRO_HINT)
    return tuple(tags)


def _decode_block(encoded: bytes, at: int, count: int, tags: list[Tag]) -> int:
    end = len(encoded)
    for _ in range(count):
        # Short texts, which nearly all are, without a call for each: a size of one byte, never negative.
        size = encoded[at]
        middle = at + 1 + (size >> 1)
        if size & 0x81 or middle >= end or (rest := encoded[middle]) & 0x81:
            name, at = _read_text(encoded, at, TAG_NAME_BYTES_MAX)
            value, at = _read_text(encoded, at, TAG_VALUE_BYTES_MAX)
        else:
            name = encoded[at + 1 : middle].decode()
            at = middle + 1 + (rest >> 1)
            if at > end:
                raise MalformedInput("a tag ends beyond the tags", field="tags", hint=_AVRO_HINT)
            value = encoded[middle + 1 : at].decode()
        tags.append(Tag(name, value))
    return at


def _read_text(encoded: bytes, at: int, bytes_max: int) -> tuple[str, int]:
    size, at = _read_varint(encoded, at)
    end = at + size
    if size < 0 or end > len(encoded):
        raise MalformedInput("a tag ends beyond the tags", field="tags", hint=_AVRO_HINT)
    if size > bytes_max:
        raise TooLarge(f"the name or value of a tag has over {bytes_max} bytes", field="tags")
    return encoded[at:end].decode(), end


def _read_varint(encoded: bytes, at: int) -> tuple[int, int]:
    """A zig-zag integer and where it ends; IndexError at the end of the bytes."""
    byte = encoded[at]
    if byte < 0x80:  # nearly always
        return (byte >> 1) ^ -(byte & 1), at + 1
    number = 0
    for shift in range(0, 7 * _VARINT_BYTES_MAX, 7):
        byte = encoded[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
    raise MalformedInput("a number in the tags is too long", field="tags", hint=_AVRO_HINT)
