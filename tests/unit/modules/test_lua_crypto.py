"""`.crypto` and `.base64` agree with Python's hashlib, hmac and base64, and with AES of a library."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
from collections.abc import Callable

import pytest
from Crypto.Cipher import AES
from Crypto.Hash import MD2, MD4, keccak

SIZES = [0, 1, 3, 16, 55, 56, 63, 64, 65, 71, 72, 111, 112, 127, 128, 129, 135, 136, 137, 200, 1000]
Calculator = Callable[[str], str]


def bytes_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def literal(data: bytes) -> str:
    """A Lua string of these bytes."""
    return '"' + "".join(f"\\{byte:03}" for byte in data) + '"'


HASHES: dict[str, Callable[[bytes], bytes]] = {
    "md2": lambda data: MD2.new(data).digest(),
    "md4": lambda data: MD4.new(data).digest(),
    "md5": lambda data: hashlib.md5(data).digest(),
    "sha1": lambda data: hashlib.sha1(data).digest(),
    "sha2_256": lambda data: hashlib.sha256(data).digest(),
    "sha2_512": lambda data: hashlib.sha512(data).digest(),
    "sha3_256": lambda data: hashlib.sha3_256(data).digest(),
    "sha3_512": lambda data: hashlib.sha3_512(data).digest(),
    "keccak256": lambda data: keccak.new(data=data, digest_bits=256).digest(),
    "keccak512": lambda data: keccak.new(data=data, digest_bits=512).digest(),
    "blake2b": lambda data: hashlib.blake2b(data).digest(),
}


@pytest.mark.parametrize("name", HASHES)
def test_digests(calculator: Calculator, name: str) -> None:
    listed = ",".join(literal(bytes_of(size)) for size in SIZES)
    source = (
        'local c, out = require(".crypto"), {} for i, s in ipairs({' + listed + "}) do "
        f"out[i] = c.digest.{name}(s).asHex() end return table.concat(out, ' ')"
    )
    assert calculator(source).split() == [HASHES[name](bytes_of(size)).hex() for size in SIZES]


def test_a_digest_takes_streams_strings_and_arrays_and_gives_three_forms(calculator: Calculator) -> None:
    wanted = hashlib.sha256(b"ao").hexdigest()
    for data in ('c.utils.stream.fromString("ao")', '"ao"', 'c.utils.array.fromString("ao")'):
        assert calculator(f'local c = require(".crypto") return c.digest.sha2_256({data}).asHex()') == wanted
    forms = 'local d = require(".crypto").digest.md5("ao") return #d.asBytes() .. " " .. #d.asString()'
    assert calculator(forms) == "16 16"


def test_blake2b_with_length_and_key(calculator: Calculator) -> None:
    for size in (0, 1, 128, 129):
        data = bytes_of(size)
        wanted = hashlib.blake2b(data, digest_size=20, key=b"key").hexdigest()
        source = f'return require(".crypto").digest.blake2b({literal(data)}, 20, "key").asHex()'
        assert calculator(source) == wanted


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha512", "md5"])
def test_hmac_is_that_of_rfc_2104(calculator: Calculator, name: str) -> None:
    for key_size in (0, 1, 32, 64, 65, 128, 129):
        key, data = bytes_of(key_size), bytes_of(70)
        source = (
            'local c = require(".crypto") return c.mac.createHmac(c.utils.stream.fromString('
            f'{literal(data)}), c.utils.array.fromString({literal(key)}), "{name}").asHex()'
        )
        assert calculator(source) == hmac.new(key, data, name).hexdigest()


def test_pbkdf2(calculator: Calculator) -> None:
    for name, rounds, size in (("sha1", 4, 16), ("sha256", 1, 32), ("sha256", 3, 100), ("sha512", 2, 65)):
        wanted = hashlib.pbkdf2_hmac(name, b"password", b"salt", rounds, size).hex().upper()
        source = (
            'local c = require(".crypto") local a = c.utils.array.fromString '
            f'return c.kdf.pbkdf2(a("password"), a("salt"), {rounds}, {size}, "{name}").asHex()'
        )
        assert calculator(source) == wanted


@pytest.mark.parametrize("mode", ["ECB", "CBC", "CFB", "OFB", "CTR"])
@pytest.mark.parametrize("bits", [128, 192, 256])
def test_aes_both_ways(calculator: Calculator, mode: str, bits: int) -> None:
    key, iv, data = bytes_of(bits // 8), bytes_of(16), bytes_of(33)
    padded = data + bytes(-len(data) % 16)
    given = {"CFB": {"iv": iv, "segment_size": 128}, "CTR": {"initial_value": iv, "nonce": b""}, "ECB": {}}
    cipher = AES.new(key, getattr(AES, f"MODE_{mode}"), **given.get(mode, {"iv": iv}))
    wanted = cipher.encrypt(padded).hex().upper()
    arguments = f'{literal(key)}, {literal(iv)}, "{mode}", {bits}'
    aes = 'require(".crypto").cipher.aes'
    assert calculator(f"return {aes}.encrypt({literal(data)}, {arguments}).asHex()") == wanted
    back = calculator(f'return {aes}.decrypt("{wanted}", {arguments}).asHex()')
    assert back == padded.hex().upper()


def test_a_cipher_that_is_not_there_says_so(calculator: Calculator) -> None:
    shown = calculator('return select(2, pcall(require(".crypto").cipher.norx.encrypt)) or "" ')
    assert "not available in aoray" in calculator(
        'local ok, e = pcall(require(".crypto").cipher.norx.encrypt) print(e)'
    ), shown


def test_the_parts_of_crypto_can_be_required(calculator: Calculator) -> None:
    assert calculator('return type(require(".crypto.digest.sha3").keccak256)') == "function"
    assert calculator('return type(require(".crypto.init").mac.createHmac)') == "function"
    assert calculator('return tostring(pcall(require, ".crypto.nope"))') == "false"


def test_base64_with_both_alphabets_and_without_padding(calculator: Calculator) -> None:
    listed = ",".join(literal(bytes_of(size)) for size in range(40))
    out = f"local b, out = require('.base64'), {{}} for i, s in ipairs({{{listed}}}) do "
    shown = calculator(out + "out[i] = '<' .. b.encode(s) .. '>' end return table.concat(out, ' ')")
    assert shown.split() == [f"<{base64.b64encode(bytes_of(size)).decode()}>" for size in range(40)]
    url = "b.encode(s, b.makeencoder('-', '_'))"
    shown = calculator(out + f"out[i] = '<' .. {url} .. '>' end return table.concat(out, ' ')")
    assert shown.split() == [f"<{base64.urlsafe_b64encode(bytes_of(size)).decode()}>" for size in range(40)]
    same = f"b.decode({url}:gsub('=', ''), b.makedecoder('-', '_')) == s and b.decode(b.encode(s)) == s"
    assert calculator(out + f"assert({same}) end return 'same'") == "same"
    assert calculator("return require('.base64').decode('aGVs bG8=')") == "hello"
