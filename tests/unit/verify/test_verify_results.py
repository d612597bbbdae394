"""`aoray verify` holds results against what compute units attest: a forged one is found, and named; nobody is
accused by strangers, nor by what is not there (yet)."""

from __future__ import annotations

import pytest
from auditor import STRANGER, Auditor
from statements import COMPUTE, LAST, WRONG, locate, say

from aoray.errors import LogFault
from aoray.protocol.ans104.items import build
from aoray.protocol.attestations import Statement, attest
from aoray.protocol.tags import Tag


async def test_true_attestations_are_counted_with_their_states(
    auditor: Auditor, said: list[Statement]
) -> None:
    say(auditor, [each._replace(state_hash="") for each in said[:5]])
    say(auditor, [said[3], *said[5:]])  # of slot 3 the state, later
    report = await auditor.verify()
    assert (report["attested"], report["attested_states"]) == (8, 4)
    assert report["compute_units"] == [COMPUTE.address]
    missing = ("not_attested_at_the_end", "not_attested_before", "attested_beyond")
    assert [report[name] for name in missing] == [0, 0, 0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"result_hash": WRONG}, f"message .* gave {WRONG}, but evaluation gives"),
        ({"message_id": WRONG}, f"the message is {WRONG}, but the log has"),
        ({"state_hash": "0" * 64}, f"the state after it is {'0' * 64}, but evaluation gives"),
    ],
)
async def test_a_false_attestation_is_found_and_named(
    auditor: Auditor, said: list[Statement], changed: dict[str, str], words: str
) -> None:
    say(auditor, said[:4])
    false = say(auditor, [said[4]._replace(**changed), *said[5:]])
    with pytest.raises(LogFault, match=words) as caught:
        await auditor.verify()
    assert f"nonce 4: attestation {false} by {COMPUTE.address} is false" in caught.value.message
    assert (caught.value.details["nonce"], caught.value.details["item"]) == (4, false)
    assert (await auditor.verify(to=3))["attested"] == 4


async def test_two_attestations_of_one_slot_cannot_both_be_false_and_true(
    auditor: Auditor, said: list[Statement]
) -> None:
    say(auditor, said)
    say(auditor, [said[6]._replace(result_hash=WRONG)])
    with pytest.raises(LogFault, match=r"nonce 6: .* is false"):
        await auditor.verify()


async def test_what_is_not_attested_is_counted_and_no_lie(auditor: Auditor, said: list[Statement]) -> None:
    report = await auditor.verify()
    assert (report["attested"], report["not_attested_at_the_end"]) == (0, 8)
    say(auditor, [said[0], said[1], said[4]])
    report = await auditor.verify()
    assert (report["attested"], report["not_attested_before"], report["not_attested_at_the_end"]) == (3, 2, 3)
    say(auditor, [Statement(LAST + 1, WRONG, WRONG), Statement(LAST + 2, WRONG, WRONG)])
    report = await auditor.verify()  # the log ends before what is attested: cut off, or not there yet
    assert (report["attested"], report["attested_beyond"]) == (3, 2)


async def test_a_stranger_s_attestation_accuses_nobody(auditor: Auditor, said: list[Statement]) -> None:
    say(auditor, said)
    say(auditor, [said[4]._replace(result_hash=WRONG)], STRANGER)
    locate(auditor, STRANGER, STRANGER)
    report = await auditor.verify()
    assert (report["attested"], report["other_attesters"]) == (8, [STRANGER.address])


async def test_a_compute_unit_can_be_named_by_who_verifies(auditor: Auditor, said: list[Statement]) -> None:
    say(auditor, [said[4]._replace(result_hash=WRONG)], STRANGER)
    with pytest.raises(LogFault, match=f"nonce 4: .* by {STRANGER.address} is false"):
        await auditor.verify(compute_units=[COMPUTE.address, STRANGER.address])
    report = await auditor.verify(compute_units=[COMPUTE.address])
    assert (report["compute_units"], report["attested"]) == ([COMPUTE.address], 0)


async def test_what_the_compute_unit_did_not_say_is_not_held_against_it(
    auditor: Auditor, said: list[Statement], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attestation that was tampered with, one of another process, one that says nothing."""
    tags = [Tag("Data-Protocol", "ao"), Tag("Type", "Attestation"), Tag("Process", auditor.process)]
    auditor.store.put(build(COMPUTE, tags=tags, data=b'{"Slots": 1}'))
    tags = [Tag("Type", "Attestation"), Tag("Process", WRONG), Tag("Process", auditor.process)]
    data = attest(COMPUTE, WRONG, [said[1]._replace(result_hash=WRONG)]).data
    auditor.store.put(build(COMPUTE, tags=tags, data=data))
    tampered = attest(COMPUTE, auditor.process, [said[4]])
    auditor.store.put(tampered)
    stored_raw = auditor.store.raw
    raw = tampered.raw.replace(said[4].result_hash.encode(), WRONG.encode())
    monkeypatch.setattr(
        auditor.store,
        "raw",
        lambda stored, *part: (
            raw[slice(*part or (None,))] if stored.id == tampered.id else stored_raw(stored, *part)
        ),
    )
    monkeypatch.setattr(auditor.store, "data", lambda stored, *part: raw[-len(tampered.data) :])
    report = await auditor.verify()
    assert report["attested"] == 0


async def test_an_attestation_that_names_another_engine_than_the_process_is_bound_to_is_false(
    auditor: Auditor, said: list[Statement]
) -> None:
    item = attest(COMPUTE, auditor.process, said[3:5], engine=1)
    auditor.store.put(item)
    with pytest.raises(LogFault, match="names engine 1, and the process is bound to") as caught:
        await auditor.verify()
    assert (caught.value.details["nonce"], caught.value.details["item"]) == (3, item.id)
