"""`aoray verify` follows hand-overs: the old key's word up to it, the new one's after, and never back; who
steals an old key changes nothing."""

from __future__ import annotations

import pytest
from auditor import EVAL, STRANGER, Auditor, location
from ordering import SCHEDULER, item
from signed_assignments import next_assignment
from statements import COMPUTE, WRONG, locate, say

from aoray.errors import LogFault
from aoray.protocol.ans104.items import parse
from aoray.protocol.assignments import Head
from aoray.protocol.attestations import Statement
from aoray.protocol.handovers import hand_over
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import first

NEW, NEWER = generate_ed25519(), generate_ed25519()
HANDED = 4  # the first nonce of the new key


def ms_of(auditor: Auditor, nonce: int) -> int:
    return int(first(parse(auditor.pairs[nonce][1]).tags, "Timestamp", ""))


def resigned(auditor: Auditor, nonce: int, signer: Signer, after_ms: int) -> None:
    """The slots from this nonce on, as this scheduler would have ordered them."""
    head: Head | None = auditor.head(nonce - 1)
    for at in range(nonce, len(auditor.pairs)):
        raw = auditor.pairs[at][0]
        head, assignment = next_assignment(
            signer, auditor.process, head, parse(raw).id, now_ms=after_ms + 1, block_height=7
        )
        auditor.pairs[at] = raw, assignment.raw


def handed_over(auditor: Auditor, nonce: int = HANDED, *, by: Signer = SCHEDULER, to: Signer = NEW) -> int:
    """The log goes on under another key from this nonce on, which the old one says."""
    ms = ms_of(auditor, nonce - 1)
    auditor.store.put(hand_over(by, "scheduler", to.address, ms))
    resigned(auditor, nonce, to, ms)
    return ms


async def test_a_log_goes_on_under_the_keys_that_were_handed_over_to(auditor: Auditor) -> None:
    handed_over(auditor)
    handed_over(auditor, 6, by=NEW, to=NEWER)
    auditor.publish()
    report = await auditor.verify()
    assert (report["nonce"], report["other_assignments"]) == (7, 0)
    assert report["successors"] == [NEW.address, NEWER.address]


async def test_without_a_hand_over_another_key_s_slots_are_none(auditor: Auditor) -> None:
    resigned(auditor, HANDED, NEW, ms_of(auditor, HANDED - 1))
    auditor.publish()
    assert (await auditor.verify())["nonce"] == HANDED - 1
    for signer in (STRANGER, NEW):  # who says it for others
        auditor.store.put(hand_over(signer, "scheduler", NEW.address, 1))
    auditor.store.put(hand_over(SCHEDULER, "compute", NEW.address, 1))
    assert (await auditor.verify())["nonce"] == HANDED - 1


async def test_the_old_key_signs_no_slot_after_it(auditor: Auditor) -> None:
    """Its slots of later times are passed over, in place of the new one's and behind them."""
    ms = handed_over(auditor)
    for nonce in (HANDED, len(auditor.pairs)):
        other = item(EVAL, auditor.process)
        auditor.pairs.append((other.raw, auditor.sign(nonce, other.id, SCHEDULER, now_ms=ms + 500)))
    auditor.publish()
    report = await auditor.verify()
    assert (report["nonce"], report["other_assignments"]) == (7, 2)


async def test_who_steals_the_old_key_and_dates_back_changes_nothing(auditor: Auditor) -> None:
    ms = handed_over(auditor)
    head = auditor.head(HANDED - 1)
    early = Head(head.nonce, head.assignment_id, head.hash_chain, ms - 1)
    forged = []
    for nonce in (HANDED, HANDED + 1, 8):
        other = item(EVAL, auditor.process)
        at = early._replace(nonce=nonce - 1)
        _, assignment = next_assignment(SCHEDULER, auditor.process, at, other.id, now_ms=ms, block_height=7)
        forged.append((other.raw, assignment.raw))
    auditor.pairs += forged
    auditor.publish()
    auditor.store.put(hand_over(SCHEDULER, "scheduler", STRANGER.address, ms - 1))
    report = await auditor.verify()
    assert (report["nonce"], report["other_assignments"], report["successors"]) == (7, 3, [NEW.address])


async def test_the_new_key_signs_no_slot_before_it(auditor: Auditor) -> None:
    ms = ms_of(auditor, HANDED)
    auditor.store.put(hand_over(SCHEDULER, "scheduler", NEW.address, ms))
    resigned(auditor, HANDED, NEW, ms - 1)  # the first of them has that time, and is the old one's to sign
    auditor.publish()
    with pytest.raises(LogFault, match=f"nonce {HANDED}: no assignment on Arweave"):
        await auditor.verify()


async def test_an_attestation_counts_up_to_the_hand_over_and_the_successor_s_after_it(
    auditor: Auditor, said: list[Statement]
) -> None:
    ms = ms_of(auditor, HANDED - 1)
    say(auditor, said[:2])
    auditor.store.put(hand_over(COMPUTE, "compute", NEW.address, ms))
    say(auditor, said[2:], NEW)  # what was not attested yet by then, too
    report = await auditor.verify()
    assert (report["attested"], report["attested_states"]) == (8, 8)
    assert report["compute_units"] == sorted([COMPUTE.address, NEW.address])
    say(auditor, [said[6]._replace(result_hash=WRONG)])  # whoever stole the old key
    assert (await auditor.verify())["attested"] == 8
    say(auditor, [said[6]._replace(result_hash=WRONG)], NEW)
    with pytest.raises(LogFault, match=f"nonce 6: attestation .* by {NEW.address} is false"):
        await auditor.verify()


async def test_a_retired_compute_unit_s_later_word_is_not_counted(
    auditor: Auditor, said: list[Statement]
) -> None:
    auditor.store.put(hand_over(COMPUTE, "compute", NEW.address, ms_of(auditor, HANDED - 1)))
    say(auditor, said)
    report = await auditor.verify()
    assert (report["attested"], report["not_attested_at_the_end"]) == (HANDED, len(said) - HANDED)


async def test_a_successor_s_location_names_compute_units(auditor: Auditor, said: list[Statement]) -> None:
    other = generate_ed25519()
    ms = ms_of(auditor, len(said) - 1)
    auditor.store.put(hand_over(SCHEDULER, "scheduler", NEW.address, ms))
    locate(auditor, NEW, other)
    auditor.store.put(location(STRANGER, STRANGER))
    assert (await auditor.verify())["compute_units"] == sorted([COMPUTE.address, other.address])


@pytest.mark.parametrize("dated_back", [True, False])
async def test_a_scheduler_takes_nothing_back_by_handing_over(auditor: Auditor, dated_back: bool) -> None:
    """Slots that are on Arweave, ordered again by the successor: from the time of the hand-over on, or of
    nonces that the old key had signed before it."""
    auditor.publish()
    ms = ms_of(auditor, HANDED - 1 if dated_back else len(auditor.pairs) - 1)
    auditor.store.put(hand_over(SCHEDULER, "scheduler", NEW.address, ms))
    other = item(EVAL, auditor.process)
    auditor.pairs = [*auditor.pairs[:HANDED], (other.raw, b"")]
    resigned(auditor, HANDED, NEW, ms)
    auditor.publish()
    with pytest.raises(LogFault, match=f"nonce {HANDED}: two messages for one nonce") as caught:
        await auditor.verify()
    assert caught.value.details["nonce"] == HANDED


async def test_a_compute_unit_takes_no_lie_back_by_handing_over(
    auditor: Auditor, said: list[Statement]
) -> None:
    say(auditor, [said[6]._replace(result_hash=WRONG)])
    auditor.store.put(hand_over(COMPUTE, "compute", NEW.address, ms_of(auditor, 0)))
    say(auditor, said, NEW)
    with pytest.raises(LogFault, match=f"nonce 6: attestation .* by {COMPUTE.address} is false"):
        await auditor.verify()
