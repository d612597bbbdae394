"""Ids and other bytes as text: base64url without padding, with one spelling for each value.

Every id of AO and Arweave is 32 bytes, written as 43 characters. Other spellings of the same bytes (padding,
stray characters, unused bits in the last character) are refused, so that ids can be compared and looked up as
text.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode

from aoray.errors import MalformedInput

ID_BYTES = 32
ID_HINT = "An id has 43 characters of A-Z, a-z, 0-9, - and _."
B64_HINT = "Base64url has the characters A-Z, a-z, 0-9, - and _, and no = at the end (RFC 4648, section 5)."
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_ID = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")  # 258 bits: the last two are zero


def b64url_encode(value: bytes) -> str:
    """Encode bytes as base64url text without padding (RFC 4648, section 5)."""
    encoded = binascii.b2a_base64(value, newline=False).translate(_URL_SAFE)
    return encoded.rstrip(b"=").decode("ascii")


def b64url_decode(text: str, *, field: str = "body") -> bytes:
    """Decode base64url text without padding. Raises `MalformedInput` naming `field`."""
    try:
        value = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        value = b""
    if b64url_encode(value) != text:  # the decoder skips unknown characters, so the result is compared
        raise MalformedInput(f"{field} is not base64url without padding", field=field, hint=B64_HINT)
    return value


def is_id(text: str) -> bool:
    """Return whether a text is an id: 43 characters of base64url that stand for 32 bytes."""
    return _ID.fullmatch(text) is not None


def id_bytes(text: str, *, field: str = "id") -> bytes:
    """Return the 32 bytes of an id. Raises `MalformedInput` naming `field`."""
    if not is_id(text):
        raise MalformedInput(f"{field} is not an id", field=field, hint=ID_HINT)
    return b64url_decode(text, field=field)
