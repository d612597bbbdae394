"""Keys: JWK both ways, and addresses as each chain writes them."""

from __future__ import annotations

from typing import Any

import pytest
from item_strategies import AnySigner

from aoray.errors import MalformedInput
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.arweave import RsaSigner, generate_rsa
from aoray.protocol.signatures.base import address_of
from aoray.protocol.signatures.ed25519 import Ed25519Signer, generate_ed25519
from aoray.protocol.signatures.ethereum import EthereumSigner
from aoray.protocol.signatures.jwk import signer_from_jwk, signer_from_pem, signer_to_jwk, signer_to_pem


def test_every_signer_comes_back_from_its_jwk(signer: AnySigner) -> None:
    again = signer_from_jwk(signer_to_jwk(signer))
    assert again.public_key == signer.public_key and signer_to_jwk(again) == signer_to_jwk(signer)


@pytest.mark.parametrize("passphrase", [b"", b"correct horse"])
def test_every_signer_comes_back_from_its_pem(signer: AnySigner, passphrase: bytes) -> None:
    pem = signer_to_pem(signer, passphrase)
    assert signer_to_jwk(signer_from_pem(pem, passphrase)) == signer_to_jwk(signer)
    for wrong in {b"", b"correct horse", b"other"} - {passphrase}:
        with pytest.raises(MalformedInput, match="the PEM can't be read"):
            signer_from_pem(pem, wrong)


@pytest.mark.parametrize(
    "pem", ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_not_pem_is_malformed_input(pem: str) -> None:
    with pytest.raises(MalformedInput):
        signer_from_pem(pem)


def test_new_keys_are_new() -> None:
    assert generate_ed25519().address != generate_ed25519().address


def test_a_new_wallet_is_an_arweave_wallet() -> None:
    signer = generate_rsa()
    assert len(signer.public_key) == 512 and signer.public_key[0] >= 0x80
    assert signer_from_jwk(signer_to_jwk(signer)).address == signer.address


@pytest.mark.parametrize(
    ("owner_of_secret", "address"),
    [  # of Hardhat's and Ganache's well-known test wallets
        (
            "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        ),
        (
            "4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d",
            "0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1",
        ),
    ],
)
def test_ethereum_addresses_are_as_eip_55_writes_them(owner_of_secret: str, address: str) -> None:
    assert EthereumSigner(bytes.fromhex(owner_of_secret)).address == address


def test_an_ed25519_key_has_the_address_of_rfc_8037() -> None:
    """The RFC's example key (its seed and x), and SHA-256 of it."""
    signer = Ed25519Signer(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert b64url_encode(signer.public_key) == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert address_of(2, signer.public_key) == address_of(4, signer.public_key) == signer.address


def changed(jwk: dict[str, str], **members: Any) -> dict[str, Any]:
    return {name: value for name, value in (jwk | members).items() if value is not None}


ED = signer_to_jwk(Ed25519Signer(b"\7" * 32))
EC = signer_to_jwk(EthereumSigner(b"\7" * 32))


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": []},
        changed(ED, crv="X25519"),
        changed(ED, d=None),
        changed(ED, d=7),
        changed(ED, d="AAAA"),
        changed(ED, d="***"),
        changed(ED, x=EC["x"]),
        changed(EC, crv="P-256"),
        changed(EC, d="A" * 43),
        changed(EC, d="AAAA"),
        changed(EC, d="AQAB"),
        changed(EC, y=EC["x"]),
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    ],
)
def test_what_is_not_a_private_key_is_malformed_input_of_the_key(jwk: dict[str, Any]) -> None:
    with pytest.raises(MalformedInput) as caught:
        signer_from_jwk(jwk)
    assert caught.value.field.startswith("key")


@pytest.mark.parametrize("member", ["n", "e", "d", "p", "q", "dp", "dq", "qi"])
@pytest.mark.parametrize("value", ["", "AA", "AQAB", None])
def test_a_spoiled_wallet_is_malformed_input(
    signers: dict[str, AnySigner], member: str, value: str | None
) -> None:
    jwk = signer_to_jwk(signers["arweave"])
    if jwk[member] == value:
        return
    with pytest.raises(MalformedInput):
        signer_from_jwk(changed(jwk, **{member: value}))


def test_a_wallet_of_another_size_is_refused() -> None:
    """ANS-104 has 512 bytes for an Arweave owner, and no other size."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    with pytest.raises(MalformedInput, match="4096"):
        RsaSigner(rsa.generate_private_key(65537, 2048))
