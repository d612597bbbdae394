"""What the Arweave tests share: signed items and bundles."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from aoray.protocol.ans104.bundles import BUNDLE_TAGS, pack
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag

ALICE = generate_ed25519()
BOB = generate_ed25519()
_numbers = itertools.count()


def item(
    *tags: tuple[str, str],
    signer: Signer = ALICE,
    target: str = "",
    data: bytes | None = None,
    anchor: bytes = b"",
) -> DataItem:
    """A signed item, unlike all others if `data` is left out."""
    data = f"data {next(_numbers)}".encode() if data is None else data
    return build(signer, target=target, anchor=anchor, tags=[Tag(*tag) for tag in tags], data=data)


def bundle(items: Sequence[DataItem], signer: Signer = ALICE, data: bytes | None = None) -> DataItem:
    """A bundle item of `items`, or of bytes that pretend to be."""
    return build(signer, tags=BUNDLE_TAGS, data=pack(items) if data is None else data)


def forged(genuine: DataItem) -> bytes:
    """The raw item with its last byte of data changed: parses, does not verify."""
    return genuine.raw[:-1] + bytes([genuine.raw[-1] ^ 1])
