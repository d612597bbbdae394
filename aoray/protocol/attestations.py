"""Attestations: a compute unit's signed word for what the messages of a process gave.

Beside a message's journey: results stay where they were made, their hashes go to Arweave, so that whoever
evaluates the log again (`aoray verify`) can hold the compute unit to what it served.

An attestation is a data item with the tags `Data-Protocol: ao`, `Type: Attestation`, `Process`, `Nonce-From`,
`Nonce-To` (the first and last slot in it), `Engine` (the version that the process is bound to, engines.py),
and JSON as data:

    {"Slots": [{"Nonce": 7, "Message": <id>, "Result-Hash": <hash>, "State-Hash": <hash>}, …]}

`Message` is the message's id (the process's own for nonce 0). `Result-Hash` is SHA-256, as base64url, of the
body that `GET /result` serves, whose bytes are fixed (execution/guest_output.py). `State-Hash` is there for
slots after which a checkpoint was taken: the hash of the state (vm/wasm/instance.py) after the message.

Invariants: slots rise by nonce; the same slots signed again by the same Ed25519 key are the same item. A slot
may be attested twice, the second time with the state, since a checkpoint comes later than the result: both
say the same of what both say.

On failure: `MalformedInput` or `TooLarge` for what only looks like an attestation, such as an item with a
target, or with any other tag.
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
    """What a compute unit states about one slot; `state_hash` is "" if it states nothing about the state."""

    nonce: int
    message_id: str
    result_hash: str
    state_hash: str = ""


def result_hash(result: bytes) -> str:
    """Return the hash of a result as it is served."""
    return b64url_encode(sha256(result).digest())


def attest(
    signer: Signer, process_id: str, statements: Sequence[Statement], engine: int = NEWEST
) -> DataItem:
    """Sign an item that makes these statements, in the order of their nonces."""
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
    """Return the statements of an attestation of that process; whether to believe its signer is up to the
    caller."""
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
