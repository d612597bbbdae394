"""Intake: unfolds a posted data item, so that the nested items of a bundle become items of their own.

An upload is one run of bytes, and is stored as such. The result of intake is `IndexedItem` rows that say
where in this run each item is and by which terms a search finds it; no item is stored twice. Pure: no I/O, no
clock.

Invariants: the signature of every row is verified, except in bundles of a trusted owner (this computer's
scheduler verified what it bundles; checking 2,000 signatures a second again would take half a core). The
first row is the upload itself, and a parent comes before its children. A trusted bundle may be taken
`closed`: the bundle is verified, and its items get their rows later, from `opened`.

On failure: an upload that does not verify, or that claims to be a bundle and is not, raises `ClientError`. A
nested item that does not parse, does not verify, or does not have the id that its bundle states is left out
and listed in `refused`, as gateways do; its bytes stay inside the bundle.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import NamedTuple

from aoray.errors import ClientError, MalformedInput, TooLarge
from aoray.limits import (
    BUNDLE_BYTES_MAX,
    BUNDLE_DEPTH_MAX,
    BUNDLE_ITEMS_MAX,
    INDEX_SLICE_TERMS,
    TERMS_CACHED_MAX,
)
from aoray.protocol.ans104.bundles import BUNDLE_TAGS
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.signatures.base import address_of
from aoray.protocol.signatures.registry import SCHEMES
from aoray.protocol.signed import ANS104, parse, verify

PAIRED = "Process"  # the tag that is also indexed together with the owner
_SHORT = 64  # a smaller count or length is one byte in Avro, with twice its value
_COUNT_BYTES = 32
_ENTRY_BYTES = 64  # an entry of a bundle's table: size (32, little-endian) and id (32)


class IndexedItem(NamedTuple):
    """An item of an upload: where its bytes are, and the terms that find it."""

    id: bytes
    parent: bytes | None
    start: int
    header_size: int
    size: int
    terms: set[int]


class Refused(NamedTuple):
    """A nested item that is not indexed, and the reason."""

    id: str
    reason: str


class Intake(NamedTuple):
    """An upload that is ready to be written."""

    raw: bytes
    placed: list[IndexedItem]
    refused: list[Refused]
    closed: bool = False  # the items in it are not placed yet


@lru_cache(maxsize=TERMS_CACHED_MAX)  # most tags of a bundle are those of the item before
def term(kind: str, value: str, name: str = "") -> int:
    """Return the 64-bit number of a term in the index. `kind` is "tag" (with its name), "name", "owner",
    "recipient" or "bundle".

    To make two own terms collide takes 2^32 hashes, and confuses only searches for these; to hit a given term
    takes 2^64.
    """
    text = f"{len(name)}:{name}{value}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8, person=kind.encode()).digest(), "big", signed=True)


def unfold(upload: DataItem, trusted: Container[str] = ()) -> Intake:
    """Verify an upload, and return every valid item in it, the upload first. Bundles of `trusted` owners are
    not verified."""
    verify(upload)
    return opened(upload, trusted)


def is_long(intake: Intake) -> bool:
    """Return whether writing the upload in one transaction would delay others."""
    return sum(1 + len(item.terms) for item in intake.placed) > INDEX_SLICE_TERMS


def slices(placed: Sequence[IndexedItem]) -> Iterator[list[IndexedItem]]:
    """Yield the items in slices of about `limits.INDEX_SLICE_TERMS` rows of the index, since larger
    transactions delay others."""
    part: list[IndexedItem] = []
    rows = 0
    for item in placed:
        part.append(item)
        rows += 1 + len(item.terms)
        if rows >= INDEX_SLICE_TERMS:
            yield part
            part, rows = [], 0
    if part:
        yield part


def closed(upload: DataItem) -> Intake:
    """Verify a trusted owner's bundle, and return the bundle alone; its items are indexed later."""
    verify(upload)
    for _ in _table(upload.data, BUNDLE_ITEMS_MAX - 1):
        pass
    return Intake(upload.raw, [_place(upload, b64url_decode(upload.id), None, 0)], [], closed=True)


def opened(upload: DataItem, trusted: Container[str]) -> Intake:
    """Unfold a verified upload, as `unfold` does."""
    placed = [_place(upload, b64url_decode(upload.id), None, 0)]
    refused: list[Refused] = []
    waiting = [(upload, 0, 1, upload.address in trusted)] if is_bundle(upload) else []
    while waiting:
        bundle, start, depth, trust = waiting.pop()
        if depth > BUNDLE_DEPTH_MAX:
            continue
        parent = b64url_decode(bundle.id)
        start += len(bundle.raw) - len(bundle.data)
        try:
            table = list(_table(bundle.data, BUNDLE_ITEMS_MAX - len(placed)))
        except ClientError as error:
            if bundle is upload:
                raise
            refused.append(Refused(bundle.id, f"is kept, but not unfolded: {error.message}"))
            continue
        of_bundle = term("bundle", bundle.id)
        for claimed_id, offset, size in table:
            if trust and (header := _header(bundle.data, offset, size, claimed_id)):
                header[1].add(of_bundle)
                placed.append(IndexedItem(claimed_id, parent, start + offset, header[0], size, header[1]))
                continue
            try:
                item = _nested(bundle.data[offset : offset + size], claimed_id, trust)
            except ClientError as error:
                refused.append(Refused(b64url_encode(claimed_id), error.message))
                continue
            placed.append(_place(item, claimed_id, parent, start + offset))
            if is_bundle(item):
                waiting.append((item, start + offset, depth + 1, trust and item.address in trusted))
    return Intake(upload.raw, placed, refused)


def alone(upload: DataItem) -> Intake:
    """Return a verified upload, without the items in it."""
    return Intake(upload.raw, [_place(upload, b64url_decode(upload.id), None, 0)], [])


_BUNDLE_TERMS = frozenset(term("tag", tag.value, tag.name) for tag in BUNDLE_TAGS)


def is_bundle(item: DataItem) -> bool:
    """Return whether the tags of an item say that its data is an ANS-104 bundle."""
    return all(tag in item.tags for tag in BUNDLE_TAGS)


def _nested(raw: bytes, claimed_id: bytes, trust: bool) -> DataItem:
    item = parse(raw, ANS104, bytes_max=BUNDLE_BYTES_MAX)
    if item.id != b64url_encode(claimed_id):
        raise MalformedInput("the bundle states another id for that item", field="bundle.id")
    if not trust:
        verify(item)
    return item


def _place(item: DataItem, item_id: bytes, parent: bytes | None, start: int) -> IndexedItem:
    size = len(item.raw)
    terms = {term("tag", tag.value, tag.name) for tag in item.tags}
    terms |= names_of(item) | pairs_of(item)
    terms.add(term("owner", item.address))
    if item.target:
        terms.add(term("recipient", item.target_id))
    if parent is not None:
        terms.add(term("bundle", b64url_encode(parent)))
    return IndexedItem(item_id, parent, start, size - len(item.data), size, terms)


def names_of(item: DataItem) -> set[int]:
    """Return the terms of the names of an item's tags."""
    return {term("name", tag.name) for tag in item.tags}


def pairs_of(item: DataItem) -> set[int]:
    """Return the terms of an item's owner together with each process that its tags name.

    Anybody may name a process in millions of items; with these terms a search for the items of one owner need
    not read them.
    """
    return {pair(item.address, tag.value) for tag in item.tags if tag.name == PAIRED}


def pair(owner: str, process_id: str) -> int:
    """Return the term of an owner together with a process that the owner's items name."""
    return term("pair", process_id, owner)


def _header(bundle: bytes, start: int, size: int, claimed_id: bytes) -> tuple[int, set[int]] | None:
    """Return the header size and the terms (except that of its bundle) of a plain item at `start`, in a third
    of the time of `parse`. None for anything else (a bundle, long tags, a faulty item), which `parse` must
    read."""
    kind = int.from_bytes(bundle[start : start + 2], "little")
    scheme, end = SCHEMES.get(kind), start + size
    if scheme is None or size > BUNDLE_BYTES_MAX:
        return None
    owner_at = start + 2 + scheme.signature_bytes
    target_at = owner_at + scheme.owner_bytes
    anchor_at = target_at + (33 if bundle[target_at : target_at + 1] == b"\1" else 1)
    tags_at = anchor_at + (33 if bundle[anchor_at : anchor_at + 1] == b"\1" else 1) + 16
    data_at = tags_at + int.from_bytes(bundle[tags_at - 8 : tags_at], "little")
    if data_at > end or bundle[target_at] > 1 or bundle[anchor_at] > 1:
        return None
    count = int.from_bytes(bundle[tags_at - 16 : tags_at - 8], "little")
    found = _terms_of(bundle[tags_at:data_at], count)
    id_agrees = sha256(bundle[start + 2 : owner_at]).digest() == claimed_id
    if found is None or not id_agrees or found[0].issuperset(_BUNDLE_TERMS):
        return None
    terms, processes = found
    owner = address_of(kind, bundle[owner_at:target_at])
    terms.add(term("owner", owner))
    terms.update(pair(owner, process_id) for process_id in processes)
    if anchor_at > target_at + 1:
        terms.add(_recipient_term(bundle[target_at + 1 : anchor_at]))
    return data_at - start, terms


def _terms_of(encoded: bytes, count: int) -> tuple[set[int], list[str]] | None:
    """Return the terms of tags in Avro, and the processes that they name, if they are one block of a few
    short texts, as most are; else None."""
    if not encoded and not count:
        return set(), []
    if not encoded or encoded[0] != 2 * count or encoded[-1] or count >= _SHORT:
        return None
    at, last, terms, processes = 1, len(encoded) - 1, set[int](), list[str]()
    try:
        for _ in range(count):
            middle = at + 1 + (encoded[at] >> 1)
            end = middle + 1 + (encoded[middle] >> 1)
            if (encoded[at] | encoded[middle]) & 0x81:
                return None
            own, of_name, process_id = _tag_terms(encoded[at:end])
            terms.add(own)
            terms.add(of_name)
            if process_id is not None:
                processes.append(process_id)
            at = end
    except (IndexError, UnicodeDecodeError):
        return None
    return (terms, processes) if at == last else None


@lru_cache(maxsize=TERMS_CACHED_MAX)
def _tag_terms(tag: bytes) -> tuple[int, int, str | None]:
    """Return the terms of one tag in Avro (two short texts, each after its length) and of its name, and the
    process that it names."""
    middle = 1 + (tag[0] >> 1)
    name, value = tag[1:middle], tag[middle + 1 :].decode()
    own = term.__wrapped__("tag", value, name.decode())
    return own, _name_term(name), value if name == PAIRED.encode() else None


@lru_cache(maxsize=TERMS_CACHED_MAX)
def _name_term(name: bytes) -> int:
    return term.__wrapped__("name", name.decode())


@lru_cache(maxsize=TERMS_CACHED_MAX)
def _recipient_term(target: bytes) -> int:
    return term.__wrapped__("recipient", b64url_encode(target))


def _table(bundle: bytes, items_max: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield id, offset and size of each nested item, in order. Raises `MalformedInput` or `TooLarge`."""
    count = int.from_bytes(bundle[:_COUNT_BYTES], "little")
    if len(bundle) < _COUNT_BYTES:
        raise MalformedInput("a bundle begins with 32 bytes of count", field="bundle.count")
    if count > items_max:
        raise TooLarge(
            f"a bundle of {count} items", hint=f"One upload holds {BUNDLE_ITEMS_MAX} items at most."
        )
    offset = _COUNT_BYTES + count * _ENTRY_BYTES
    if offset > len(bundle):
        raise MalformedInput(f"a bundle of {count} items ends within its table", field="bundle.table")
    for index in range(count):
        entry = bundle[_COUNT_BYTES + index * _ENTRY_BYTES : _COUNT_BYTES + (index + 1) * _ENTRY_BYTES]
        size = int.from_bytes(entry[:32], "little")
        if size > len(bundle) - offset:
            raise MalformedInput(f"item {index} of the bundle ends beyond it", field="bundle.size")
        yield entry[32:], offset, size
        offset += size
