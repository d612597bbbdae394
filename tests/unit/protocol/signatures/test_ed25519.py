"""Ed25519: what is accepted is what libsodium accepts, whether it or OpenSSL decides; no signature fits two
messages; and what is signed are the bytes that OpenSSL signs.

The hard cases are made here, with the curve's arithmetic: keys and signatures with parts of small order,
points and scalars written in other ways than the canonical one (as listed in "Taming the many EdDSAs", 2020).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from functools import cache
from itertools import product

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aoray.protocol.signatures import ed25519
from aoray.protocol.signatures.ed25519 import flaw, key_pair, sign, verify

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # of -1

Point = tuple[int, int]
Case = tuple[bytes, bytes, bytes]  # public key, message, signature


def lift(y: int) -> Point | None:
    """A point with this y, if there is one."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    return next(((r, y) for r in (x, x * ROOT % P) if r * r % P == square), None)


def add(a: Point, b: Point) -> Point:
    k = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + k, -1, P)
    return x % P, (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, -1, P) % P


@cache
def times(n: int, point: Point) -> Point:
    total = (0, 1)
    for bit in f"{n:b}":
        total = add(total, total)
        total = add(total, point) if bit == "1" else total
    return total


def written(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def spellings(point: Point) -> set[bytes]:
    """The ways to write a point that some decoders take: y + p, and a sign for x = 0."""
    signs = {0, 1} if point[0] == 0 else {point[0] & 1}
    ys = {y for y in (point[1], point[1] + P) if y < 2**255}
    return {(y | sign << 255).to_bytes(32, "little") for y, sign in product(ys, signs)}


def scalar(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def base() -> Point:
    found = lift(4 * pow(5, -1, P) % P)
    assert found
    return found if found[0] % 2 == 0 else (P - found[0], found[1])


BASE = base()
SMALL = next(t for point in map(lift, range(2, 99)) if point and times(4, t := times(L, point)) != (0, 1))
SECRET, NONCE = scalar(b"secret"), scalar(b"nonce")
TORSION = [times(n, SMALL) for n in range(8)]  # all points of small order


def signed(secret: int, nonce: int, key_part: Point, r_part: Point, message: bytes) -> Iterator[Case]:
    """What a signer gives who puts parts of small order in; each spelling, and S + L."""
    key, r = add(times(secret, BASE), key_part), add(times(nonce, BASE), r_part)
    for public, r_bytes in product(spellings(key), spellings(r)):
        s = (nonce + scalar(r_bytes, public, message) * secret) % L
        for each in (s, s + L):
            yield public, message, r_bytes + each.to_bytes(32, "little")


def hard_cases() -> Iterator[Case]:
    for n, (key_part, r_part) in enumerate(product(TORSION, TORSION)):
        message = b"%d" % n if n else b""
        for secret, nonce in product((SECRET, 0), (NONCE, 0)):
            yield from signed(secret, nonce, key_part, r_part, message)


def test_libsodium_and_openssl_with_the_checks_of_form_accept_the_same_in_the_hard_cases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = list(hard_cases())
    by_sodium = [verify(*case) for case in cases]
    assert by_sodium == [ed25519._sodium_verifies(*case) for case in cases]
    monkeypatch.setattr(ed25519, "_SODIUM_IS_STRICT", False)
    monkeypatch.setattr(ed25519, "_sodium_verifies", lambda *_: True)
    assert [verify(*case) for case in cases] == by_sodium
    # Each kind is among them: accepted, refused for the form alone, refused by the equation
    found = {
        (accepted, ed25519._openssl_verifies(*case), bool(flaw(case[0], case[2])))
        for case, accepted in zip(cases, by_sodium, strict=True)
    }
    assert found == {(True, True, False), (False, True, True), (False, False, True), (False, False, False)}


def test_a_key_of_small_order_signs_nothing() -> None:
    """By the RFC's equation, one signature by such a key fits one message of eight, or every message."""
    r = written(times(NONCE, BASE))
    signature = r + NONCE.to_bytes(32, "little")  # R = [S]B: it holds wherever h*A vanishes
    messages = [b"%d" % n for n in range(24)]
    keys = [public for point in TORSION for public in spellings(point)]
    fits = [[ed25519._openssl_verifies(public, m, signature) for m in messages] for public in keys]
    assert max(map(sum, fits)) == len(messages) and sum(any(each) for each in fits) >= 8
    for public in keys:
        assert not any(verify(public, message, signature) for message in messages)
        assert "small order" in flaw(public, signature) or "canonically" in flaw(public, signature)


def test_a_point_r_of_small_order_is_refused() -> None:
    public = written(times(SECRET, BASE))
    for point in TORSION:
        r = written(point)
        signature = r + (scalar(r, public, b"m") * SECRET % L).to_bytes(32, "little")
        assert not verify(public, b"m", signature) and "point R is of small order" in flaw(public, signature)


@pytest.mark.parametrize("size", [0, 1, 48, 96, 1000])
def test_what_is_signed_is_what_openssl_signs_and_no_change_of_it_verifies(size: int) -> None:
    chance = random.Random(size)
    for _ in range(20):
        seed, message = chance.randbytes(32), chance.randbytes(size)
        key = Ed25519PrivateKey.from_private_bytes(seed)
        public, secret = key_pair(seed)
        signature = sign(secret, message)
        assert (public, signature) == (key.public_key().public_bytes_raw(), key.sign(message))
        assert verify(public, message, signature) and not verify(public, message + b"\0", signature)
        case = [public, message, signature]
        which = chance.randrange(3) if message else 2 * chance.randrange(2)
        at = chance.randrange(len(case[which]))
        case[which] = (
            case[which][:at] + bytes([case[which][at] ^ 1 << chance.randrange(8)]) + case[which][at + 1 :]
        )
        assert verify(*case) == ed25519._openssl_verifies(*case) is False


def test_sizes_are_those_of_a_key_and_a_signature() -> None:
    """One byte less of a signature and one more of a message are not a signature."""
    public, secret = key_pair(b"\7" * 32)
    signature = sign(secret, b"message")
    for wrong in (
        (public, signature[-1:] + b"message", signature[:-1]),
        (public, b"essage", signature + b"m"),
        (public[:-1], b"message", signature),
        (public + b"\0", b"message", signature),
        (b"", b"", b""),
    ):
        assert not verify(*wrong)


@pytest.mark.parametrize("n", range(4))
def test_a_libsodium_that_accepts_more_does_not_decide(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At import it is shown signatures that must be refused; it is not believed if it takes one of them."""
    assert ed25519._sodium_is_strict()
    shown = ed25519._MUST_BE_REFUSED[n]
    monkeypatch.setattr(
        ed25519, "_sodium_verifies", lambda public, _, signature: (public, signature) == shown
    )
    assert not ed25519._sodium_is_strict()
    monkeypatch.setattr(ed25519, "_SODIUM_IS_STRICT", ed25519._sodium_is_strict())
    assert not verify(shown[0], b"", shown[1])
    public, secret = key_pair(b"\7" * 32)
    assert verify(public, b"", sign(secret, b""))


def test_the_signature_that_needs_a_cofactor_holds_times_the_cofactor_only() -> None:
    public, signature = ed25519._COFACTORED
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    assert (public, r) == (written(add(times(SECRET, BASE), SMALL)), written(times(NONCE, BASE)))
    assert s == (NONCE + scalar(r, public) * SECRET) % L
    assert not verify(public, b"", signature)
