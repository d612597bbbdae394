"""Bundles (ANS-104, binary format 2.0.0): many data items as the data of one.

    count (32 bytes) | for each item: size (32 bytes), id (32 bytes) | the items

Numbers are little-endian. `unpack` checks the count and every size: the header must fit exactly what follows,
and each id must be that of its item. It does not verify signatures. `offsets` reads only the header, for
callers that need a few of many items; its ids are claims.
"""

from __future__ import annotations

from collections.abc import Sequence

from aoray.errors import MalformedInput, TooLarge
from aoray.limits import BUNDLE_BYTES_MAX, BUNDLE_ITEMS_MAX
from aoray.protocol.ans104.items import DataItem, id_of, parse
from aoray.protocol.ids import b64url_encode, id_bytes
from aoray.protocol.tags import Tag, Tags

BUNDLE_TAGS: Tags = (Tag("Bundle-Format", "binary"), Tag("Bundle-Version", "2.0.0"))

_NUMBER_BYTES = 32
_ENTRY_BYTES = 2 * _NUMBER_BYTES


def pack(items: Sequence[DataItem]) -> bytes:
    """Return the bytes of a bundle of these items. Raises `TooLarge` beyond the bounds of `unpack`."""
    return pack_raw([item.raw for item in items])


def pack_raw(items: Sequence[bytes]) -> bytes:
    """Return the bytes of a bundle of raw items, which must have been parsed before. Raises what `pack`
    raises."""
    if len(items) > BUNDLE_ITEMS_MAX:
        raise TooLarge(f"a bundle has at most {BUNDLE_ITEMS_MAX} items", field="count")
    heads = b"".join(_number(len(raw)) + id_of(raw) for raw in items)
    bundle = b"".join((_number(len(items)), heads, *items))
    if len(bundle) > BUNDLE_BYTES_MAX:
        raise TooLarge(f"a bundle has at most {BUNDLE_BYTES_MAX} bytes", field="body")
    return bundle


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER_BYTES, "little")


def unpack(bundle: bytes) -> list[DataItem]:
    """Parse the items of a bundle. Raises `MalformedInput` or `TooLarge` that names the field
    (`items[3].owner`)."""
    count, start = _header(bundle)
    items = []
    for n in range(count):
        item, start = _item(bundle, n, start)
        items.append(item)
    _check_end(bundle, start)
    return items


def offsets(bundle: bytes) -> dict[str, tuple[int, int]]:
    """Return where each item starts and ends, by the id that the header states. Raises `MalformedInput` or
    `TooLarge`."""
    count, start = _header(bundle)
    found = {}
    for n in range(count):
        head = _NUMBER_BYTES + n * _ENTRY_BYTES
        end = start + _size(bundle, n, start)
        found[b64url_encode(bundle[head + _NUMBER_BYTES : head + _ENTRY_BYTES])] = start, end
        start = end
    _check_end(bundle, start)
    return found


def _header(bundle: bytes) -> tuple[int, int]:
    """Return the number of items, and where the first starts."""
    if len(bundle) > BUNDLE_BYTES_MAX:
        raise TooLarge(f"a bundle has at most {BUNDLE_BYTES_MAX} bytes", field="body")
    count = int.from_bytes(bundle[:_NUMBER_BYTES], "little")
    start = _NUMBER_BYTES + count * _ENTRY_BYTES
    if len(bundle) < start:
        raise MalformedInput(f"the bundle ends within its header of {count} items", field="count")
    if count > BUNDLE_ITEMS_MAX:
        raise TooLarge(f"a bundle has at most {BUNDLE_ITEMS_MAX} items", field="count")
    return count, start


def _check_end(bundle: bytes, end: int) -> None:
    if end != len(bundle):
        raise MalformedInput("there are bytes after the last item of the bundle", field="body")


def _size(bundle: bytes, n: int, start: int) -> int:
    """Return the size of the bundle's n-th item, which starts at `start`."""
    head = _NUMBER_BYTES + n * _ENTRY_BYTES
    size = int.from_bytes(bundle[head : head + _NUMBER_BYTES], "little")
    if size > len(bundle) - start:
        raise MalformedInput(f"the bundle ends within item {n}", field=f"items[{n}].size")
    return size


def _item(bundle: bytes, n: int, start: int) -> tuple[DataItem, int]:
    """Return the bundle's n-th item, which starts at `start`, and where it ends."""
    head, size = _NUMBER_BYTES + n * _ENTRY_BYTES, _size(bundle, n, start)
    try:
        item = parse(bundle[start : start + size], bytes_max=BUNDLE_BYTES_MAX)
    except MalformedInput as error:
        raise MalformedInput(error.message, field=f"items[{n}].{error.field}", hint=error.hint) from error
    if id_bytes(item.id) != bundle[head + _NUMBER_BYTES : head + _ENTRY_BYTES]:
        raise MalformedInput(f"the id of item {n} is not the one in the header", field=f"items[{n}].id")
    return item, start + size
