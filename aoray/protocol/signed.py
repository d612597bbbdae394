"""Signed messages in any envelope: `parse` and `verify` by the envelope's name.

An envelope is the form of the bytes that a wallet signs; the one here is ANS-104. A log entry has the name of
its envelope beside the message's bytes, so readers of the log call `parse(raw, envelope)` and use only what a
`SignedMessage` has. Where only an ANS-104 item can be (the body of a request, items on Arweave, statements of
units), the name is `ANS104` and the result a `DataItem`.

To add an envelope: a folder in `protocol/` with `parse` and `verify`, whose messages are `SignedMessage`s,
and a line in `ENVELOPES`. A message in another envelope is not in the bundles that go to Arweave, which hold
data items; its assignment is.

On failure: `MalformedInput` names the part of the message at fault, or says that the envelope is unknown;
`BadSignature`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, Protocol, overload

from aoray.errors import MalformedInput
from aoray.limits import ITEM_BYTES_MAX
from aoray.protocol.ans104 import items
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.tags import Tags

ANS104: Final = items.ENVELOPE


class SignedMessage(Protocol):
    """A parsed message. Everything in it is a claim until `verify`."""

    @property
    def envelope(self) -> str:
        """The name of the message's envelope."""

    @property
    def id(self) -> str:
        """The message's id."""

    @property
    def owner(self) -> bytes:
        """The public key of the signer."""

    @property
    def owner_key(self) -> str:
        """The public key of the signer, in base64url."""

    @property
    def address(self) -> str:
        """The address of the signer."""

    @property
    def signature(self) -> bytes:
        """The bytes of the signature."""

    @property
    def target(self) -> bytes:
        """The 32 bytes of the target's id; empty if there is no target."""

    @property
    def target_id(self) -> str:
        """The target's id; '' if there is none."""

    @property
    def anchor(self) -> bytes:
        """The anchor's 32 bytes; empty if there is none."""

    @property
    def tags(self) -> Tags:
        """The tags, in order."""

    @property
    def has_plain_tags(self) -> bool:
        """Whether the signed bytes can be rebuilt from the tags as JSON."""

    @property
    def data(self) -> bytes:
        """The data."""

    @property
    def raw(self) -> bytes:
        """The bytes that were parsed."""


class Parse(Protocol):
    """Parses a message. Raises `TooLarge` beyond `bytes_max`, and `MalformedInput` that names the part at
    fault."""

    def __call__(self, raw: bytes, *, bytes_max: int = ...) -> SignedMessage: ...


class Envelope(NamedTuple):
    """The functions of an envelope. `verify` raises `BadSignature` for a message from its `parse`."""

    parse: Parse
    verify: Callable[[Any], None]


class SignedBytes(NamedTuple):
    """The bytes of a message, and the name of its envelope."""

    raw: bytes
    envelope: str = ANS104


ENVELOPES: dict[str, Envelope] = {
    ANS104: Envelope(items.parse, items.verify),
}


@overload
def parse(raw: bytes, envelope: Literal["ans104"], *, bytes_max: int = ...) -> DataItem: ...
@overload
def parse(raw: bytes, envelope: str, *, bytes_max: int = ...) -> SignedMessage: ...
def parse(raw: bytes, envelope: str, *, bytes_max: int = ITEM_BYTES_MAX) -> SignedMessage:
    """Parse the bytes of a message in this envelope. Raises `MalformedInput` or `TooLarge`."""
    if (found := ENVELOPES.get(envelope)) is None:
        raise _unknown(envelope)
    return found.parse(raw, bytes_max=bytes_max)


def verify(message: SignedMessage) -> None:
    """Raise `BadSignature` unless the owner signed this message."""
    if (found := ENVELOPES.get(message.envelope)) is None:
        raise _unknown(message.envelope)
    found.verify(message)


def _unknown(name: str) -> MalformedInput:
    known = ", ".join(ENVELOPES)
    return MalformedInput(f"no envelope {name[:60]!r}", field="envelope", hint=f"These are known: {known}.")
