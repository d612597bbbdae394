"""Arweave's deep hash: SHA-384 over a tree of byte strings and lists, such that different trees have
different hashes.

A blob hashes to `H(H("blob" + length) + H(bytes))`; a list starts with `H("list" + length)` and adds each
element in turn. Data items (`items.py`) and Arweave transactions sign this hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha384

DeepChunk = bytes | Sequence["DeepChunk"]


def deep_hash(chunk: DeepChunk) -> bytes:
    """Return the deep hash (ANS-104) of a tree. The caller bounds the depth of the tree."""
    if isinstance(chunk, bytes):
        return blob_hash(chunk)
    return fold(list_start(len(chunk)), [deep_hash(each) for each in chunk])


def blob_hash(blob: bytes) -> bytes:
    """Return the deep hash of one byte string."""
    return sha384(sha384(b"blob%d" % len(blob)).digest() + sha384(blob).digest()).digest()


def list_start(length: int) -> bytes:
    """Return the hash with which a list of `length` elements starts."""
    return sha384(b"list%d" % length).digest()


def fold(state: bytes, hashes: Sequence[bytes]) -> bytes:
    """Return the hash of a list after these elements are added to `state`."""
    for each in hashes:
        state = sha384(state + each).digest()
    return state
