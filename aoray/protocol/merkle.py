"""How Arweave divides the data of a transaction into chunks, and proves each chunk (transactions of format
2). Pure.

Chunks have at most 256 KiB, and at least 32 KiB if there is more than one: a smaller rest is divided between
the last two. Their hashes are the leaves of a binary Merkle tree, whose root (the *data root*) the
transaction signs. A chunk is sent to a node with its *data path* from the root to its leaf, so the node keeps
only chunks of signed data, at their offsets.

    leaf    H(H(H(chunk)) | H(end))
    branch  H(H(left) | H(right) | H(end of left))      H is SHA-256, numbers have 32 bytes, big-endian

Data whose length is a multiple of 256 KiB ends with a leaf of no bytes, which is never sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from aoray.limits import KIB

CHUNK_BYTES_MAX = 256 * KIB
CHUNK_BYTES_MIN = 32 * KIB
NUMBER_BYTES = HASH_BYTES = 32
LEAF_BYTES = HASH_BYTES + NUMBER_BYTES


class Chunk(NamedTuple):
    """The start and end of a chunk in the data, and its proof."""

    start: int
    end: int
    data_path: bytes


class _Node(NamedTuple):
    id: bytes
    end: int
    paths: list[bytes]  # the data paths of the leaves below, from this node down


def spans(size: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each chunk of `size` bytes of data."""
    start = 0
    while size - start >= CHUNK_BYTES_MAX:
        left = size - start
        halved = 0 < left - CHUNK_BYTES_MAX < CHUNK_BYTES_MIN
        end = start + ((left + 1) // 2 if halved else CHUNK_BYTES_MAX)
        yield start, end
        start = end
    yield start, size


def chunked(data: bytes) -> tuple[bytes, list[Chunk]]:
    """Return the data root, and the chunks to send."""
    view, places = memoryview(data), list(spans(len(data)))
    layer = [_leaf(view[start:end], end) for start, end in places]
    while len(layer) > 1:
        pairs = [layer[at : at + 2] for at in range(0, len(layer), 2)]
        layer = [_branch(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    chunks = [Chunk(*place, path) for place, path in zip(places, layer[0].paths, strict=True)]
    return layer[0].id, [chunk for chunk in chunks if chunk.start < chunk.end]


def proven(root: bytes, size: int, path: bytes, chunk: bytes) -> int | None:
    """Return the offset of a chunk in the data with this root and size; None if its data path does not prove
    it."""
    start, end = 0, size
    while len(path) > LEAF_BYTES:
        left, right, split = path[:HASH_BYTES], path[HASH_BYTES : 2 * HASH_BYTES], path[2 * HASH_BYTES :]
        split, path = split[:NUMBER_BYTES], split[NUMBER_BYTES:]
        if _hash(left, right, split) != root:
            return None
        middle = int.from_bytes(split, "big")
        if not start < middle <= end:
            return None
        last = path[-NUMBER_BYTES:]
        if int.from_bytes(last, "big") <= middle:
            root, end = left, middle
        else:
            root, start = right, middle
    data_hash, number = path[:HASH_BYTES], path[HASH_BYTES:]
    genuine = len(path) == LEAF_BYTES and _hash(data_hash, number) == root
    fits = int.from_bytes(number, "big") == end == start + len(chunk)
    return start if genuine and fits and sha256(chunk).digest() == data_hash else None


def _leaf(chunk: memoryview, end: int) -> _Node:
    data_hash = sha256(chunk).digest()
    return _Node(_hash(data_hash, _number(end)), end, [data_hash + _number(end)])


def _branch(left: _Node, right: _Node) -> _Node:
    head = left.id + right.id + _number(left.end)
    node_id = _hash(left.id, right.id, _number(left.end))
    return _Node(node_id, right.end, [head + path for path in (*left.paths, *right.paths)])


def _hash(*parts: bytes) -> bytes:
    return sha256(b"".join(sha256(part).digest() for part in parts)).digest()


def _number(value: int) -> bytes:
    return value.to_bytes(NUMBER_BYTES, "big")
