"""Attestations: items by which a compute unit states what the messages of a process resulted in.

Where in a message's journey: beside it, after the result. Results stay where they were made, and their hashes
go to Arweave, so that whoever evaluates the log again (`aoray verify`) can compare.

An attestation is a data item with the tags `Data-Protocol: ao`, `Type: Attestation`, `Process`, `Nonce-From`,
`Nonce-To` (its first and last slot), `Engine` (the version that the process is bound to, engines.py), and
JSON as data:

    {"Slots": [{"Nonce": 7, "Message": <id>, "Result-Hash": <hash>, "State-Hash": <hash>}, …]}

`Message` is the id of the message (of the process itself for nonce 0). `Result-Hash` is the SHA-256, in
base64url, of the body that `GET /result` serves, whose bytes are fixed (execution/guest_output.py).
`State-Hash` occurs only for slots after which a checkpoint was taken: the hash of the state after the message
(vm/interface.py).

Invariants: slots are in the order of nonces. The same statements signed again by the same Ed25519 key are the
same item. A slot may be attested twice, the second time with its state, since a checkpoint comes later than
the result; what both state must be equal.

On failure: `MalformedInput` or `TooLarge` for an item that only resembles an attestation, such as one with a
target or with any other tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from aoray.errors import MalformedInput, TooLarge
from aoray.limits import ATTESTATION_SLOTS_MAX
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.engines import TAG as ENGINE
from aoray.protocol.forms import ATTESTATION, departure
from aoray.protocol.ids import b64url_encode, is_id
from aoray.protocol.signatures.base import Signer
from aoray.protocol.tags import Tag, first
from aoray.vm.engines import NEWEST

TYPE = "Attestation"
_AO_TAGS = (Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1"), Tag("Type", TYPE))
_JSON = Tag("Content-Type", "application/json")
_STATE_CHARACTERS_MAX = 128
_NONCE_MAX = 2**63 - 1


class Statement(NamedTuple):
    """A compute unit's statement about one slot. `state_hash` is '' if it states nothing about the state."""

    nonce: int
    message_id: str
    result_hash: str
    state_hash: str = ""


def result_hash(result: bytes) -> str:
    """Return the SHA-256, in base64url, of a result as it is served."""
    return b64url_encode(sha256(result).digest())


def attest(
    signer: Signer, process_id: str, statements: Sequence[Statement], engine: int = NEWEST
) -> DataItem:
    """Make and sign an attestation with these statements. Raises `ValueError` for none, or too many."""
    if not 0 < len(statements) <= ATTESTATION_SLOTS_MAX:
        raise ValueError(f"an attestation has 1 to {ATTESTATION_SLOTS_MAX} slots")
    slots = sorted(statements)
    tags = (
        *_AO_TAGS,
        Tag("Process", process_id),
        Tag("Nonce-From", str(slots[0].nonce)),
        Tag("Nonce-To", str(slots[-1].nonce)),
        Tag(ENGINE, str(engine)),
        _JSON,
    )
    return build(signer, tags=tags, data=orjson.dumps({"Slots": [_as_json(slot) for slot in slots]}))


def _as_json(slot: Statement) -> dict[str, Any]:
    said = {"Nonce": slot.nonce, "Message": slot.message_id, "Result-Hash": slot.result_hash}
    return said | {"State-Hash": slot.state_hash} if slot.state_hash else said


def statements_of(item: DataItem, process_id: str) -> list[Statement]:
    """Return the statements of an attestation of this process. Raises `MalformedInput` or `TooLarge`. The
    caller decides whether to believe the signer."""
    if (departs := departure(item, ATTESTATION)) or first(item.tags, "Process") != process_id:
        why = f": it {departs}" if departs else ""
        raise MalformedInput(f"{item.id} is not an attestation of {process_id}{why}", field="tags")
    try:
        slots = orjson.loads(item.data)["Slots"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise MalformedInput(f"attestation {item.id} has no Slots", field="data") from error
    if not isinstance(slots, list):
        raise MalformedInput(f"attestation {item.id} has no Slots", field="data")
    if len(slots) > ATTESTATION_SLOTS_MAX:
        raise TooLarge(f"attestation {item.id} has over {ATTESTATION_SLOTS_MAX} slots", field="data")
    return [_statement(item, at, slot) for at, slot in enumerate(slots)]


def _statement(item: DataItem, at: int, slot: Any) -> Statement:
    said = slot if isinstance(slot, dict) else {}
    nonce, message, result = (said.get(name) for name in ("Nonce", "Message", "Result-Hash"))
    state = said.get("State-Hash", "")
    if (
        type(nonce) is int
        and 0 <= nonce <= _NONCE_MAX
        and (isinstance(message, str) and is_id(message))
        and (isinstance(result, str) and is_id(result))
        and (isinstance(state, str) and len(state) <= _STATE_CHARACTERS_MAX)
    ):
        return Statement(nonce, message, result, state)
    raise MalformedInput(
        f"attestation {item.id} has a slot without nonce, message and result hash", field=f"Slots[{at}]"
    )
