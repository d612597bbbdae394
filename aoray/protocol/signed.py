"""Signed messages, whatever they are signed in: `parse` and `verify` by the envelope's name.

An envelope is the form of the bytes that a wallet signs: here that of ANS-104. A log entry keeps its
envelope's name beside the message's bytes, so whoever reads the log parses it by `parse(raw, envelope)` and
asks no more of it than a `SignedMessage` has. What is an ANS-104 item by its place (a request's body, what
Arweave holds, what a unit signs) is parsed with the name `ANS104`, and gives a `DataItem`.

To add one: a folder in `protocol/` with `parse` and `verify`, whose messages are `SignedMessage`s, and a line
in `ENVELOPES`. A message that is not in ANS-104 is not part of the bundles that go to Arweave, which hold
data items; its assignment is.

On failure: `MalformedInput` names the part of the message at fault, or an envelope that there is not;
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
    """A message that was parsed; all it says is a claim until `verify`."""

    @property
    def envelope(self) -> str:
        """The name of its envelope."""

    @property
    def id(self) -> str: ...

    @property
    def owner(self) -> bytes:
        """The public key that signed it."""

    @property
    def owner_key(self) -> str:
        """The public key as base64url."""

    @property
    def address(self) -> str:
        """The owner's address."""

    @property
    def signature(self) -> bytes: ...

    @property
    def target(self) -> bytes:
        """The 32 bytes of the id of what it is for; none if it is for nothing."""

    @property
    def target_id(self) -> str:
        """The target as text, "" if there is none."""

    @property
    def anchor(self) -> bytes: ...

    @property
    def tags(self) -> Tags: ...

    @property
    def has_plain_tags(self) -> bool:
        """Whether the message can be rebuilt, as it was signed, from its tags as JSON."""

    @property
    def data(self) -> bytes: ...

    @property
    def raw(self) -> bytes:
        """The bytes that `parse` took."""


class Parse(Protocol):
    """Takes a message apart; `TooLarge` beyond `bytes_max`, `MalformedInput` names the part at fault."""

    def __call__(self, raw: bytes, *, bytes_max: int = ...) -> SignedMessage: ...


class Envelope(NamedTuple):
    """What the folder of an envelope offers. `verify` raises `BadSignature` for a message of its `parse`."""

    parse: Parse
    verify: Callable[[Any], None]


class SignedBytes(NamedTuple):
    """A message as it is kept and sent on: its bytes, and the name of its envelope."""

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
    """Take the bytes of a message apart, as its envelope says; see `Parse`."""
    return _envelope(envelope).parse(raw, bytes_max=bytes_max)


def verify(message: SignedMessage) -> None:
    """Raise `BadSignature` unless the owner signed this message."""
    _envelope(message.envelope).verify(message)


def _envelope(name: str) -> Envelope:
    try:
        return ENVELOPES[name]
    except KeyError:
        raise MalformedInput(
            f"no envelope {name[:60]!r}",
            field="envelope",
            hint=f"These are known: {', '.join(ENVELOPES)}.",
        ) from None
