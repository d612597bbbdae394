"""Arweave's deep hash: SHA-384 over a tree of byte strings and lists, no two trees alike.

A blob is `H(H("blob" + length) + H(bytes))`; a list starts from `H("list" + length)` and folds in each
element. It is what data items (`items.py`) and Arweave transactions sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha384

DeepChunk = bytes | Sequence["DeepChunk"]


def deep_hash(chunk: DeepChunk) -> bytes:
    """Return the deep hash (ANS-104) of a tree that this program built; its depth is not bounded here."""
    if isinstance(chunk, bytes):
        return blob_hash(chunk)
    return fold(list_start(len(chunk)), [deep_hash(each) for each in chunk])


def blob_hash(blob: bytes) -> bytes:
    """Return the deep hash of one byte string."""
    return sha384(sha384(b"blob%d" % len(blob)).digest() + sha384(blob).digest()).digest()


def list_start(length: int) -> bytes:
    """Return the state in which the fold of a list of `length` elements begins."""
    return sha384(b"list%d" % length).digest()


def fold(state: bytes, hashes: Sequence[bytes]) -> bytes:
    """Return the state of a list's fold after the hashes of these elements."""
    for each in hashes:
        state = sha384(state + each).digest()
    return state
