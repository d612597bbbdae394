"""Uploaders: how a bundle is signed and posted to Arweave, and how deep in the chain it is.

    EmbeddedUploader   a data item, to the embedded Arweave, which keeps everything that it accepts
    BundlerUploader    a data item, to a bundler (`POST {bundler}/tx`), looked up by the gateway's GraphQL
    NodeUploader       a transaction with its chunks, to a node (`POST /tx`, `POST /chunk`), paid by a wallet

The flusher uses them; the settings decide which one (`uploader_of`). Invariants: `sign` alone determines the
id, and changes nothing; `post` may be repeated. Of the `sign` methods only `NodeUploader.sign` asks a node:
for a price, and for an anchor, which bounds the time in which the transaction can be mined.

On failure: the errors of `ArweaveClient`, also for malformed answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from aoray import limits
from aoray.arweave.client import ArweaveClient
from aoray.errors import MalformedInput, NotFound
from aoray.protocol.ans104.bundles import BUNDLE_TAGS
from aoray.protocol.ans104.items import build, rebuild
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.arweave import RsaSigner
from aoray.protocol.signatures.base import Signer
from aoray.protocol.transactions import chunks_json, from_json, sign, to_json
from aoray.settings import Settings

# An anchor is one of the last 50 blocks when a transaction is mined; a fork may be as deep as 18.
ANCHOR_BLOCKS_MAX = 50 + 18
DEPTHS = """query ($ids: [ID!]!) {
  transactions(ids: $ids, first: 100) { edges { node { id block { height } } } }
}"""


class SignedUpload(NamedTuple):
    """What was signed for a bundle. With `parts` and the bundle it can be posted, and posted again."""

    id: str
    parts: bytes
    anchor_height: int = 0  # of the block that must be in the chain, and not too deep; 0: no anchor


class Uploader(Protocol):
    """A way to upload bundles to Arweave."""

    carrier: str  # names the signer; only the same carrier can post what was signed
    confirming: bool  # whether uploads must be confirmed by blocks, since acceptance is not enough

    async def sign(self, bundle: bytes) -> SignedUpload:
        """Sign an upload of this bundle. Nothing is posted yet."""

    async def post(self, signed: SignedUpload, bundle: bytes, *, known: bool) -> None:
        """Post the bundle as it was signed. `known` says whether Arweave has the transaction already."""

    async def depths(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Return the depth, in blocks, of each of these uploads that Arweave knows; 0 while it is in no
        block."""

    async def mineable(self, signed: SignedUpload) -> bool:
        """Return whether the upload can still get into a block."""


class EmbeddedUploader:
    """An uploader to the embedded Arweave of this computer. With Ed25519 the same bundle is the same item
    each time."""

    confirming = False

    def __init__(self, client: ArweaveClient, signer: Signer) -> None:
        self.carrier = f"item:{signer.address}"
        self._client = client
        self._signer = signer

    async def sign(self, bundle: bytes) -> SignedUpload:
        """Sign the bundle as a data item."""
        item = await asyncio.to_thread(build, self._signer, tags=BUNDLE_TAGS, data=bundle)
        return SignedUpload(item.id, item.signature)

    async def post(self, signed: SignedUpload, bundle: bytes, *, known: bool = False) -> None:
        """Post the data item."""
        item = await asyncio.to_thread(
            rebuild,
            signature=signed.parts,
            owner=self._signer.public_key,
            target=b"",
            anchor=b"",
            tags=BUNDLE_TAGS,
            data=bundle,
        )
        await self._client.post_item(item.raw)

    async def depths(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Return nothing, since acceptance is enough."""
        return {}

    async def mineable(self, signed: SignedUpload) -> bool:
        """Return True, since a data item has no anchor that could be too old."""
        return True


class BundlerUploader(EmbeddedUploader):
    """An uploader to a bundler, which brings bundles to Arweave after a while; `gateway` shows when they are
    there."""

    confirming = True

    def __init__(self, bundler: ArweaveClient, gateway: ArweaveClient, signer: Signer) -> None:
        super().__init__(bundler, signer)
        self._gateway = gateway

    async def depths(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Return the depth of each upload that the gateway knows; 0 while it is in no block."""
        height = await self._gateway.height()
        found: dict[str, int] = {}
        for at in range(0, len(ids), limits.QUERY_IDS_MAX):
            answer = await self._gateway.graphql(DEPTHS, {"ids": list(ids[at : at + limits.QUERY_IDS_MAX])})
            found |= _depths(answer, height)
        return found


def _depths(answer: Mapping[str, Any], height: int) -> dict[str, int]:
    """Return the depth of each item in a gateway's answer, by id."""
    try:
        nodes = [edge["node"] for edge in answer["transactions"]["edges"]]
        blocks = {str(node["id"]): node["block"] for node in nodes}
        return {
            item_id: max(1, height - int(block["height"]) + 1) if block else 0
            for item_id, block in blocks.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedInput(
            "the gateway did not answer with a page of transactions", field="answer"
        ) from error


class NodeUploader:
    """An uploader to an Arweave node, with layer-1 transactions."""

    confirming = True

    def __init__(self, node: ArweaveClient, wallet: RsaSigner) -> None:
        self.carrier = f"transaction:{wallet.address}"
        self._node = node
        self._wallet = wallet
        self._requests = asyncio.Semaphore(limits.NODE_REQUESTS_IN_FLIGHT_MAX)

    async def sign(self, bundle: bytes) -> SignedUpload:
        """Ask the node for an anchor and a price, and sign the bundle as a transaction."""
        anchor, reward = await self._node.anchor(), await self._node.price(len(bundle))
        height = await self._node.block_height(anchor)
        made = await asyncio.to_thread(
            sign, self._wallet, bundle, anchor=anchor, reward=reward, tags=BUNDLE_TAGS
        )
        return SignedUpload(made.id, orjson.dumps(to_json(made)), height)

    async def post(self, signed: SignedUpload, bundle: bytes, *, known: bool = False) -> None:
        """Post the transaction, unless the node knows it, and all its chunks."""
        transaction = from_json(orjson.loads(signed.parts))
        chunks = await asyncio.to_thread(lambda: list(chunks_json(bundle)))
        inline = len(chunks) == 1
        if not known:
            await self._node.post_transaction(to_json(transaction, bundle if inline else b""))
        if not inline:
            for chunk in chunks:
                await self._node.post_chunk(chunk)

    async def depths(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Return the depth of each upload that the node knows; 0 while it is in no block."""
        found = await asyncio.gather(*map(self._depth, ids))
        return {each: depth for each, depth in zip(ids, found, strict=True) if depth is not None}

    async def _depth(self, transaction_id: str) -> int | None:
        async with self._requests:
            try:
                return await self._node.confirmations(transaction_id)
            except NotFound:
                return None

    async def mineable(self, signed: SignedUpload) -> bool:
        """Return whether the transaction can still get into a block of the node's chain: True if this is not
        known.

        A node whose chain does not reach the anchor is behind, and proves nothing.
        """
        height = await self._node.height()
        if height < signed.anchor_height:
            return True
        if height > signed.anchor_height + ANCHOR_BLOCKS_MAX:
            return False
        there = await self._node.block_id(signed.anchor_height)
        return there == b64url_encode(from_json(orjson.loads(signed.parts)).anchor)


def uploader_of(
    settings: Settings,
    gateway: ArweaveClient,
    bundler: ArweaveClient,
    signer: Signer,
    wallet: RsaSigner | None,
) -> Uploader:
    """Return the uploader that the settings ask for. `signer` is the scheduler's key; a wallet, if there is
    one, signs and pays instead."""
    if settings.bundler_url:
        return BundlerUploader(bundler, gateway, wallet or signer)
    if wallet:
        return NodeUploader(gateway, wallet)
    if settings.gateway_url:
        return BundlerUploader(gateway, gateway, signer)
    return EmbeddedUploader(gateway, signer)
