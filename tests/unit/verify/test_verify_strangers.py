"""`aoray verify` of an honest process finds it true, whatever strangers put on Arweave: what others signed is
counted, and never judged. And a gateway that lies makes no slot of what is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from auditor import EVAL, PAIRS, STRANGER, Auditor, location
from ordering import SCHEDULER, USER, bundle, item
from signed_assignments import next_assignment

from aoray import limits
from aoray.errors import LogFault, TooLarge
from aoray.protocol.ans104.items import DataItem, build, parse
from aoray.protocol.attestations import Statement, attest
from aoray.protocol.cron import MARKS_BEFORE
from aoray.protocol.forms import AO
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.verify import rules, workers
from aoray.verify.workers import SlotPage

COMPUTE = generate_ed25519()
WRONG = b64url_encode(b"w" * 32)


def slot(auditor: Auditor, nonce: int, **signed: Any) -> DataItem:
    """What a stranger signs as an assignment of the process."""
    head = auditor.head(min(nonce, PAIRS) - 1) if nonce else None
    named = None if head is None else auditor.ids[-1]
    head = head and head._replace(nonce=nonce - 1)
    return next_assignment(STRANGER, auditor.process, head, named, now_ms=1, block_height=7, **signed)[1]


def resigned(raw: bytes, *more: Tag, drop: str = "", target: str = "", data: bytes = b"") -> DataItem:
    tags = [tag for tag in parse(raw).tags if tag.name != drop]
    return build(STRANGER, tags=[*tags, *more], target=target, data=data)


def old_tick(auditor: Auditor, tags: list[Tag]) -> DataItem:
    """A tick as the scheduler signed it when a stranger's words had no prefix."""
    other = item(
        (("Data-Protocol", "ao"), ("Type", "Process"), ("Module", "m"), ("Scheduler", SCHEDULER.address))
    )
    said = {"Cron": "0-1-second", "Cron-Due": "1700000001000", "Cron-Owner": USER.address}
    marks = [Tag(name, said[name]) for name in MARKS_BEFORE]
    return build(SCHEDULER, target=other.id, tags=[*AO, Tag("Type", "Message"), *marks, *tags], data=b"")


STRANGE: dict[str, Callable[[Auditor], list[DataItem]]] = {
    "a slot behind the last": lambda a: [slot(a, PAIRS)],
    "the same slots again": lambda a: [slot(a, nonce) for nonce in range(PAIRS)],
    "a nonce that is far": lambda a: [slot(a, 10**17)],
    "nonces that are no numbers": lambda a: [
        resigned(a.pairs[3][1], Tag("Nonce", text), drop="Nonce")
        for text in ("", "x", "-1", "٣", "9" * 60, "3.0")
    ],
    "no nonce": lambda a: [resigned(a.pairs[3][1], drop="Nonce")],
    "a copy of a slot under another key": lambda a: [resigned(a.pairs[3][1])],
    "two of each tag": lambda a: [resigned(a.pairs[3][1], *parse(a.pairs[3][1]).tags)],
    "with a target and data": lambda a: [resigned(a.pairs[3][1], target=a.process, data=b"x")],
    "many": lambda a: [slot(a, PAIRS + number) for number in range(60)],
    "tags at the bound": lambda a: [
        resigned(a.pairs[3][1], *(Tag(f"X-{n}", "\0é" * 40) for n in range(limits.TAGS_MAX - 10)))
    ],
    "attestations": lambda a: [attest(STRANGER, a.process, [Statement(1, a.ids[1], WRONG)])],
    "locations": lambda a: [location(STRANGER, STRANGER)],
    "a tick that reads as a slot": lambda a: [old_tick(a, list(parse(a.sign(3, a.ids[4])).tags))],
    "a tick that reads as a slot behind the last": lambda a: [old_tick(a, list(slot(a, PAIRS).tags))],
    "a tick that reads as a location": lambda a: [old_tick(a, list(location(STRANGER, STRANGER).tags))],
    "a tick that reads as an attestation": lambda a: [
        old_tick(a, list(attest(STRANGER, a.process, [Statement(1, a.ids[1], WRONG)]).tags))
    ],
}


@pytest.mark.parametrize("filters", [True, False], ids=["by owner", "to all alike"])
@pytest.mark.parametrize("what", STRANGE)
async def test_what_others_signed_is_counted_and_never_judged(
    auditor: Auditor, what: str, filters: bool
) -> None:
    """Also by a gateway that does not look at whose items are asked for."""
    graphql = auditor.client.graphql
    if not filters:
        auditor.client.graphql = lambda query, given: graphql(query, given | {"owners": None})  # type: ignore
    auditor.store.put(location(SCHEDULER, COMPUTE))
    auditor.publish()
    for each in STRANGE[what](auditor):
        auditor.store.put(each)
    report = await auditor.verify()
    assert (report["nonce"], report["compute_units"]) == (PAIRS - 1, [COMPUTE.address])
    looking = [each for each in STRANGE[what](auditor) if Tag("Type", "Assignment") in each.tags]
    assert report["other_assignments"] == len({each.id for each in looking})
    strangers = {"attestations": [STRANGER.address]}
    assert report["other_attesters"] == strangers.get(what, report["other_attesters"])


def claimed(auditor: Auditor, nonce: int) -> bytes:
    """An assignment that names the scheduler as its owner, and that nobody signed."""
    item = slot(auditor, nonce)
    return item.raw.replace(STRANGER.public_key, SCHEDULER.public_key)


@pytest.mark.parametrize("nonces", [[PAIRS], [3], [0], [PAIRS + 5, PAIRS + 9], [2, 3, PAIRS, 10**17]])
async def test_what_nobody_signed_is_not_a_slot_though_a_gateway_lists_it_as_the_schedulers(
    auditor: Auditor, nonces: list[int]
) -> None:
    """The gateway takes it out of a bundle, and does not verify it."""
    auditor.publish()
    auditor.store.put(bundle(SCHEDULER, [[claimed(auditor, nonce)] for nonce in nonces]))  # it is trusted
    report = await auditor.verify()
    assert (report["nonce"], report["other_assignments"]) == (PAIRS - 1, len(nonces))


async def test_a_changed_copy_in_anothers_bundle_accuses_nobody(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the id of the true item, since its signature is copied, and stands where that one is sought."""
    auditor.publish()
    right = auditor.client.data

    async def copied(item_id: str) -> bytes:
        return tampered_items(await right(item_id))

    auditor.client.data = copied  # type: ignore[method-assign]
    monkeypatch.setattr(limits, "VERIFY_PAGE_ENTRIES", 3)
    assert (await auditor.verify())["nonce"] == PAIRS - 1


def tampered_items(data: bytes) -> bytes:
    """The bundle with other block heights and other data, at the same places under the same ids."""
    return data.replace(b"000000000007", b"000000000008").replace(b"return N", b"return 7")


async def test_a_compute_unit_is_not_forgotten_however_much_is_newer(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VERIFY_LIST_ENTRIES", 5)
    auditor.publish()
    auditor.store.put(location(SCHEDULER, COMPUTE, data=b" "))  # as it was signed first
    for number in range(40):
        tags = [*location(STRANGER, STRANGER).tags[2:], Tag("N", str(number))]
        auditor.store.put(old_tick(auditor, tags))
        auditor.store.put(build(SCHEDULER, tags=[*AO, *tags], data=b""))  # it has another form
    assert (await auditor.verify())["compute_units"] == [COMPUTE.address]
    other = generate_ed25519()
    auditor.store.put(location(SCHEDULER, other))
    assert (await auditor.verify())["compute_units"] == sorted([COMPUTE.address, other.address])


async def test_compute_units_are_bounded(auditor: Auditor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VERIFY_UNITS_MAX", 2)
    auditor.publish()
    for _ in range(3):
        auditor.store.put(location(SCHEDULER, generate_ed25519()))
    with pytest.raises(TooLarge, match="over 2 compute units"):
        await auditor.verify()
    assert (await auditor.verify(compute_units=[COMPUTE.address]))["nonce"] == PAIRS - 1


# A gateway that lies


def lie(auditor: Auditor, monkeypatch: pytest.MonkeyPatch, false: DataItem) -> None:
    """The gateway lists this item as an assignment by the scheduler, without a target."""
    graphql = auditor.client.graphql

    async def answer(query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        found = await graphql(query, variables)
        if "bundledIn { id }" in query and "transactions" in found:
            tags = [{"name": n, "value": v} for n, v in false.tags if (n, v) != ("Type", "Message")]
            owner = {"address": SCHEDULER.address}
            node = {"id": false.id, "recipient": "", "owner": owner, "tags": tags, "bundledIn": None}
            found["transactions"]["edges"].append({"cursor": "x", "node": node})
        return found

    auditor.client.graphql = answer  # type: ignore[method-assign]


async def test_behind_a_lying_gateway_a_strangers_tick_is_not_a_slot(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tick has all the words of the next slot's assignment, and the scheduler's signature."""
    message = item(EVAL, auditor.process)
    words = next_assignment(
        SCHEDULER, auditor.process, auditor.head(PAIRS - 1), message.id, now_ms=2 * 10**12, block_height=7
    )[1]
    auditor.publish()
    false = old_tick(auditor, list(words.tags))
    for each in (message, false):
        auditor.store.put(each)
    lie(auditor, monkeypatch, false)
    report = await auditor.verify()
    assert (report["nonce"], report["other_assignments"]) == (PAIRS - 1, 2)


@pytest.mark.parametrize("change", ["target", "data", "anchor", "tag", "twice"])
def test_a_slot_whose_assignment_has_not_its_form_is_none(auditor: Auditor, change: str) -> None:
    tags = list(parse(auditor.pairs[3][1]).tags)
    parts: dict[str, Any] = {
        "target": {"target": auditor.process},
        "data": {"data": b"x"},
        "anchor": {"anchor": b"a" * 32},
        "tag": {"tags": [*tags, Tag("Cron", "x")]},
        "twice": {"tags": [*tags, tags[3]]},
    }
    false = build(SCHEDULER, **({"tags": tags} | parts[change]))
    pairs = [(assignment, message) for message, assignment in auditor.pairs]
    pairs[3] = false.raw, pairs[3][1]
    facts = rules.facts_of(parse(auditor.pairs[0][0]))
    with pytest.raises(LogFault, match=r"nonce 3: assignment .* (has|does not have)"):
        workers.check_page(facts, SlotPage(0, pairs[0][0], b"", pairs))
