"""Items of any parts are the same to npm's arbundles (a black box) and to us, whoever made them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from fuzz_strategies import fuzz
from hypothesis import strategies as st
from item_strategies import ids, tags
from js_items import SECRET, SEED, as_request, as_seen, ask, b64

from aoray.protocol.ans104.items import build, parse, verify
from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.signatures.ethereum import EthereumSigner
from aoray.protocol.signatures.solana import SolanaSigner

pytestmark = pytest.mark.node

SIGNERS = {
    "arweave": generate_rsa(),
    "ed25519": Ed25519Signer(SEED),
    "ethereum": EthereumSigner(SECRET),
    "solana": SolanaSigner(SEED),
}
# arbundles takes an anchor as text of 32 bytes.
anchors = st.just(b"") | st.text(st.characters(codec="ascii"), min_size=32, max_size=32).map(str.encode)
parts = st.fixed_dictionaries(
    {"target": st.just("") | ids, "anchor": anchors, "tags": tags, "data": st.binary(max_size=300)}
)


many = st.lists(st.tuples(st.sampled_from(sorted(SIGNERS)), parts), min_size=40, max_size=60)


@fuzz(2, many)  # each is a run of node
def test_items_are_the_same_on_both_sides(wanted: list[tuple[str, dict[str, Any]]]) -> None:
    ours = [build(SIGNERS[name], **given) for name, given in wanted]
    requests = [as_request(name, given) for name, given in wanted]
    answer = ask(SIGNERS, make=requests, check=[b64(item.raw) for item in ours])
    for item, theirs in zip(ours, answer["checked"], strict=True):
        assert theirs == {"valid": True, "seen": as_seen(item)}
    for (name, given), made in zip(wanted, answer["made"], strict=True):
        item = parse(base64.b64decode(made["raw"]))
        verify(item)
        assert as_seen(item) == made["seen"]
        assert name == "arweave" or item == build(SIGNERS[name], **given)
