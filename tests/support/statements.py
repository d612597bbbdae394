"""What tests of verification share: attestations of a log that an Arweave holds, true and false ones."""

from __future__ import annotations

from collections.abc import Sequence

from auditor import Auditor, location
from ordering import SCHEDULER

from aoray.protocol.attestations import Statement, attest, result_hash
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.verify.replay import replayed

COMPUTE = generate_ed25519()
WRONG = b64url_encode(b"w" * 32)
LAST = 7


def locate(auditor: Auditor, signer: Signer = SCHEDULER, compute: Signer = COMPUTE) -> None:
    """The scheduler says whose attestations go with its log."""
    auditor.store.put(location(signer, compute))


def say(auditor: Auditor, said: Sequence[Statement], signer: Signer = COMPUTE) -> str:
    item = attest(signer, auditor.process, said)
    auditor.store.put(item)
    return item.id


async def truth(auditor: Auditor) -> list[Statement]:
    """What is to be said of each slot, with the states."""
    said = []
    for nonce in range(LAST + 1):
        async with replayed(auditor.client, auditor.process, to=nonce, compiled=auditor.compiled) as run:
            state = str(run.report()["state_sha256"])
            message = auditor.ids[nonce]
            said.append(Statement(nonce, message, result_hash(run.last_result), state))
    return said
