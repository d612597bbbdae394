"""`aoray verify`: a true log is evaluated again from Arweave alone; every lie is found.

The logs are made by the scheduler's own rules and bundles. Lies are put in between, signed by the scheduler
where only it could tell them, and kept by an Arweave that verifies nothing in the scheduler's bundles.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from auditor import EVAL, MODULE, PAIRS, STRANGER, Auditor, tampered
from forged_keys import Nobody
from ordering import SCHEDULER, USER, bundle, committer, item, spawn
from signed_assignments import next_assignment

from aoray import limits
from aoray.cli.verify import comparison
from aoray.client import Client
from aoray.client.transports import TransportResponse
from aoray.errors import LogFault, MalformedInput, Unavailable
from aoray.protocol.ans104.items import build, id_of, parse
from aoray.protocol.assignments import Head, LogEntry, plain
from aoray.protocol.signatures.base import ED25519, SOLANA
from aoray.protocol.tags import Tag
from aoray.verify import rules, workers
from aoray.verify.replay import Compare, Run, replayed
from aoray.verify.source import ASSIGNMENTS
from aoray.verify.workers import CheckedSlot, SlotPage, VerifyPool
from aoray.vm.engines import NEWEST


async def test_a_true_log_gives_the_same_results_and_state_every_time(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor.publish()
    report = await auditor.verify()
    assert (report["nonce"], report["messages"], report["errors"], report["assigned"]) == (7, 8, 1, 1)
    monkeypatch.setattr(limits, "VERIFY_PAGE_ENTRIES", 3)
    monkeypatch.setattr(limits, "VERIFY_LIST_ENTRIES", 3)
    timing = {"seconds": 0, "messages_per_second": 0}
    assert await auditor.verify() | timing == report | timing


async def test_the_order_in_which_arweave_has_the_items_does_not_matter(auditor: Auditor) -> None:
    auditor.pairs.reverse()
    auditor.publish(size=2)
    assert (await auditor.verify())["nonce"] == PAIRS - 1


async def test_an_earlier_state_is_made_again_and_answers_dry_runs(auditor: Auditor) -> None:
    auditor.publish()
    tags = [{"name": "Action", "value": "Eval"}]
    for nonce in (2, 4):
        async with replayed(auditor.client, auditor.process, to=nonce, compiled=auditor.compiled) as run:
            state = run.report()["state_sha256"]
            body = {"Owner": USER.address, "Data": "N = N + 100; return N", "Tags": tags}
            assert [shown(run, body), shown(run, body)] == [f"{nonce + 100}"] * 2
            assert run.report()["state_sha256"] == state
    with pytest.raises(MalformedInput, match="ends at nonce 7"):
        await auditor.verify(to=8)


def shown(run: Run, body: dict[str, object]) -> str:
    return str(run.dry_run(body)["Output"]["data"])


async def test_a_bundle_that_names_items_wrongly_does_not_accuse_the_scheduler(auditor: Auditor) -> None:
    auditor.publish()
    one, other = (id_of(auditor.pairs[nonce][0]) for nonce in (2, 3))
    right = auditor.client.data

    async def renamed(bundle_id: str) -> bytes:
        header_first = await right(bundle_id)
        return header_first.replace(one, b"?" * 32, 1).replace(other, one, 1).replace(b"?" * 32, other, 1)

    auditor.client.data = renamed  # type: ignore[method-assign]
    assert (await auditor.verify())["nonce"] == PAIRS - 1


async def test_a_user_s_message_that_looks_like_an_assignment_is_none(auditor: Auditor) -> None:
    disguise = (("Type", "Assignment"), ("Process", auditor.process), ("Nonce", "1"), *EVAL)
    auditor.store.put(item(disguise, auditor.process))
    auditor.publish()
    assert (await auditor.verify())["nonce"] == PAIRS - 1


def tamper_message(auditor: Auditor) -> None:
    raw, assignment = auditor.pairs[3]
    auditor.pairs[3] = tampered(raw), assignment


def tamper_assignment(auditor: Auditor) -> None:
    raw, assignment = auditor.pairs[3]
    auditor.pairs[3] = raw, assignment.replace(b"000000000007", b"000000000008")


def drop_message(auditor: Auditor) -> None:
    auditor.pairs[3] = auditor.pairs[3][1], auditor.pairs[3][1]


def drop_slot(auditor: Auditor) -> None:
    del auditor.pairs[3]


def drop_log(auditor: Auditor) -> None:
    raw = auditor.pairs[0][0]
    auditor.pairs = [(raw, raw)]


def two_for_one_nonce(auditor: Auditor) -> None:
    other = item(EVAL, auditor.process)
    auditor.pairs.append((other.raw, auditor.sign(3, other.id)))


def one_for_two_nonces(auditor: Auditor) -> None:
    raw = auditor.pairs[1][0]
    auditor.pairs[3:] = [(raw, auditor.sign(3, parse(raw).id))]


def exchange(auditor: Auditor) -> None:
    other = item(EVAL, auditor.process)
    auditor.pairs[3] = other.raw, auditor.sign(3, other.id, now_ms=1_700_000_000_001)


def wrong_scheduler(auditor: Auditor) -> None:
    tags = parse(auditor.pairs[0][0]).tags
    process = build(USER, tags=[Tag(n, STRANGER.address if n == "Scheduler" else v) for n, v in tags])
    _, assignment = next_assignment(SCHEDULER, process.id, None, None, now_ms=1, block_height=7)
    auditor.process, auditor.pairs = process.id, [(process.raw, assignment.raw)]


def turn_back_time(auditor: Auditor) -> None:
    other, head = item(EVAL, auditor.process), auditor.head(2)
    early = Head(head.nonce, head.assignment_id, head.hash_chain, 0)
    _, assignment = next_assignment(SCHEDULER, auditor.process, early, other.id, now_ms=5, block_height=7)
    auditor.pairs[3:] = [(other.raw, assignment.raw)]


def say_two_things(auditor: Auditor) -> None:
    raw, assignment = auditor.pairs[3]
    tags = [*parse(assignment).tags, Tag("Nonce", "9")]
    auditor.pairs[3:] = [(raw, build(SCHEDULER, tags=tags).raw)]


@pytest.mark.parametrize(
    ("tell", "nonce", "words"),
    [
        (tamper_message, 3, "message .* its signature does not verify"),
        (tamper_assignment, 3, "assignment .* its signature does not verify"),
        (drop_message, 3, "message .* is not on Arweave"),
        (drop_slot, 3, "no assignment on Arweave, though there is one for nonce 4"),
        (drop_log, 0, "no assignment of process"),
        (two_for_one_nonce, 3, "two messages for one nonce"),
        (one_for_two_nonces, 3, "was scheduled twice: it has nonce 1"),
        (exchange, 4, "its hash chain does not continue the slot before"),
        (wrong_scheduler, 0, "no assignment of process"),
        (turn_back_time, 3, "not later than the slot before"),
        (say_two_things, 3, "does not have one tag Nonce"),
    ],
)
async def test_a_lie_is_found_and_named(
    auditor: Auditor, tell: Callable[[Auditor], None], nonce: int, words: str
) -> None:
    tell(auditor)
    error = await auditor.lie()
    assert error.details["nonce"] == nonce
    assert f"nonce {nonce}: " in error.message
    with pytest.raises(LogFault, match=words):
        raise error


async def test_a_forged_result_is_found(auditor: Auditor, log: list[LogEntry]) -> None:
    """The computer gives the right results, but for one."""
    auditor.publish()
    right: dict[str, bytes] = {}

    async def keep(entry: LogEntry, result: bytes) -> None:
        right[entry.message_id] = result

    async def run(compare: Compare) -> None:
        async with replayed(auditor.client, auditor.process, compiled=auditor.compiled, compare=compare):
            pass

    class Computer:
        """Answers with what is right by now."""

        url = "http://computer"

        async def ask(
            self, method: str, path: str, params: Mapping[str, str], body: bytes, content_type: str
        ) -> TransportResponse:
            return TransportResponse(200, {}, right[path.rpartition("/")[2]])

        async def close(self) -> None:
            pass

    await run(keep)
    async with Client("http://computer", USER, Computer()) as computer:
        await run(comparison(computer))
        right[log[4].message_id] = right[log[3].message_id]
        with pytest.raises(LogFault, match=r"nonce 4: the result of .* is not what evaluation gives"):
            await run(comparison(computer))


async def test_a_wrong_module_is_found(auditor: Auditor) -> None:
    auditor.module = bundle(SCHEDULER, [(tampered(MODULE.raw),) * 2])
    error = await auditor.lie()
    assert (
        error.message.startswith(f"wrong module: {MODULE.id}: its signature")
        and error.details["item"] == MODULE.id
    )


@pytest.mark.parametrize("kind", [ED25519, SOLANA])
async def test_an_item_of_nobody_s_key_in_an_old_log_is_named_and_accuses_no_compute_unit(
    auditor: Auditor, kind: int
) -> None:
    """Logs made before such keys were refused may hold one: its id does not fix its content."""
    weak = build(Nobody(signature_type=kind), target=auditor.process, tags=[Tag(*tag) for tag in EVAL])
    auditor.pairs[3:] = [(weak.raw, auditor.sign(3, weak.id))]
    auditor.publish()
    assert (await auditor.verify(to=2))["nonce"] == 2  # what was before it is still true
    with pytest.raises(LogFault, match="of small order") as caught:
        await auditor.verify()
    assert (caught.value.details["nonce"], caught.value.details["item"]) == (3, weak.id)
    assert "accuses no compute unit" in caught.value.message
    assert "its id does not fix its content" in caught.value.message


async def test_a_process_or_a_module_of_nobody_s_key_is_named(auditor: Auditor) -> None:
    weak = build(Nobody(), tags=MODULE.tags, data=MODULE.data)
    tags = [Tag(n, weak.id if n == "Module" else v) for n, v in parse(auditor.pairs[0][0]).tags]
    for signer, wrong in ((USER, "module"), (Nobody(bytes(31) + b"1"), "process")):
        process = build(signer, tags=tags)
        _, assignment = next_assignment(SCHEDULER, process.id, None, None, now_ms=1, block_height=7)
        auditor.process, auditor.pairs = process.id, [(process.raw, assignment.raw)]
        auditor.module = bundle(SCHEDULER, [(weak.raw, weak.raw)])
        assert f"wrong {wrong}: " in (error := await auditor.lie()).message and "small order" in error.message


async def test_another_module_under_its_id_is_found(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = build(STRANGER, tags=MODULE.tags, data=MODULE.data)
    stored_raw = auditor.store.raw
    monkeypatch.setattr(
        auditor.store,
        "raw",
        lambda stored, *part: (
            other.raw[slice(*part or (None,))] if stored.id == MODULE.id else stored_raw(stored, *part)
        ),
    )
    error = await auditor.lie()
    assert "wrong module" in error.message and other.id in error.message


async def test_a_missing_module_is_found(auditor: Auditor) -> None:
    auditor.module = item(())
    assert (await auditor.lie()).message == f"module {MODULE.id} is not on Arweave"


PAGE = {"pageInfo": {"hasNextPage": True}, "edges": [{"cursor": "1", "node": {}}]}


@pytest.mark.parametrize(
    "found",
    [None, [], {}, PAGE | {"edges": [None]}, PAGE | {"edges": "ab"}, PAGE | {"pageInfo": []}, {"edges": []}],
)
async def test_an_answer_of_another_shape_is_named(auditor: Auditor, found: object) -> None:
    auditor.publish()
    auditor.client.graphql = answering(found)  # type: ignore[method-assign]
    with pytest.raises(MalformedInput, match="not answer with a page of transactions"):
        await auditor.verify()


async def test_a_gateway_whose_pages_have_no_end_is_left(auditor: Auditor) -> None:
    auditor.publish()
    [*_, last] = (await auditor.client.graphql(ASSIGNMENTS, {"process": auditor.process, "first": 9}))[
        "transactions"
    ]["edges"]
    auditor.client.graphql = answering(PAGE | {"edges": [last]})  # type: ignore[method-assign]
    with pytest.raises(MalformedInput, match="have no end"):
        await auditor.verify()


def answering(found: object) -> Callable[..., Awaitable[dict[str, object]]]:
    async def graphql(query: str, variables: dict[str, object] | None = None) -> dict[str, object]:
        return {"transactions": found}

    return graphql


async def test_an_item_over_the_bounds_is_a_fault(auditor: Auditor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "ITEM_BYTES_MAX", len(auditor.pairs[3][0]) - 1)
    assert "has over" in (await auditor.lie()).message


@pytest.mark.parametrize(
    ("tell", "nonce"), [(tamper_message, 3), (exchange, 4), (one_for_two_nonces, 3), (drop_slot, 3)]
)
async def test_other_os_processes_find_the_same_lie_first(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch, tell: Callable[[Auditor], None], nonce: int
) -> None:
    """The slots behind it, which are judged at the same time, are wrong too."""
    judge_apart(monkeypatch)
    raw, assignment = auditor.pairs[6]
    auditor.pairs[6] = tampered(raw), assignment
    tell(auditor)
    assert (await auditor.lie()).details["nonce"] == nonce


async def test_other_os_processes_find_the_same_truth(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor.publish()
    here = await auditor.verify()
    judge_apart(monkeypatch)
    timing = {"seconds": 0, "messages_per_second": 0}
    assert await auditor.verify() | timing == here | timing


async def test_an_os_process_that_dies_is_not_a_fault_of_the_log(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_apart(monkeypatch)
    (assignment, message), *_ = [tuple(map(parse, pair[::-1])) for pair in auditor.pairs]
    judges = VerifyPool(rules.facts_of(message), PAIRS)
    page = SlotPage(0, assignment.raw, b"", [(assignment.raw, message.raw)])
    assert [each.entry.message_id for each in await judges.check_page(page)] == [message.id]
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(Unavailable, match="has died"):
        while True:
            await judges.check_page(page)
    judges.close()


def test_the_fast_check_finds_what_the_full_check_finds(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []
    second_look = workers._checked_fully
    monkeypatch.setattr(workers, "_checked_fully", lambda *slot: looked_at.append(slot) or second_look(*slot))
    glanced = judged(auditor)
    assert len(looked_at) == 1  # nonce 0
    monkeypatch.setattr(workers, "plain", lambda raw: None)
    assert judged(auditor) == glanced and len(looked_at) == 1 + PAIRS


def judged(auditor: Auditor) -> list[CheckedSlot]:
    facts = rules.facts_of(parse(auditor.pairs[0][0]))
    return workers.check_page(
        facts, SlotPage(0, auditor.pairs[0][1], b"", [pair[::-1] for pair in auditor.pairs])
    )


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (lambda a: a.sign(3, a.ids[3], STRANGER), "is forged"),
        (lambda a: a.sign(3, a.ids[5]), "names another message"),
        (lambda a: otherwise(a, "Nonce", "4"), "says another nonce"),
        (lambda a: otherwise(a, "Process", SCHEDULER.address), "is of another process"),
        (lambda a: otherwise(a, "Hash-Chain", SCHEDULER.address), "does not continue"),
        (lambda a: otherwise(a, "Timestamp", str(a.head(2).timestamp)), "not later"),
        (lambda a: tampered_signature(a.pairs[3][1]), "changed after it was signed"),
    ],
)
def test_the_fast_check_passes_no_fault(
    auditor: Auditor, lie: Callable[[Auditor], bytes], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is the only thing wrong with its slot; what is found is what a second look finds."""
    auditor.pairs[3] = auditor.pairs[3][0], lie(auditor)
    with pytest.raises(LogFault, match=says) as glanced:
        judged(auditor)
    monkeypatch.setattr(workers, "plain", lambda raw: None)
    with pytest.raises(LogFault) as looked_at:
        judged(auditor)
    assert (glanced.value.message, glanced.value.details) == (
        looked_at.value.message,
        looked_at.value.details,
    )


def otherwise(auditor: Auditor, name: str, value: str) -> bytes:
    """The assignment of slot 3, with another value of one tag."""
    tags = parse(auditor.pairs[3][1]).tags
    return build(SCHEDULER, tags=[Tag(name, value) if tag.name == name else tag for tag in tags]).raw


def tampered_signature(raw: bytes) -> bytes:
    return raw[:40] + bytes([raw[40] ^ 1]) + raw[41:]


def test_a_message_over_the_bounds_does_not_pass_the_fast_check(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    message, said = parse(auditor.pairs[3][0]), plain(auditor.pairs[3][1])
    facts, head = rules.facts_of(parse(auditor.pairs[0][0])), judged(auditor)[2].head
    assert said and rules.fast_check(facts, head, said, message)
    monkeypatch.setattr(rules, "ITEM_BYTES_MAX", len(message.raw) - 1)
    assert rules.fast_check(facts, head, said, message) is None


def judge_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VERIFY_APART_SLOTS_MIN", 1)
    monkeypatch.setattr(limits, "VERIFY_PAGE_ENTRIES", 2)


async def test_the_engine_that_a_spawn_asks_for_may_have_other_digits(
    auditor: Auditor, tmp_path: Path
) -> None:
    """Who spawns chooses how the number is written, and makes no liar of the scheduler with it."""
    asks = (("Scheduler", SCHEDULER.address), ("Engine", f"0{NEWEST}"))
    process = spawn(*asks, tags=(("Data-Protocol", "ao"), ("Type", "Process"), ("Module", MODULE.id)))
    writer = committer(tmp_path / "log")
    work = writer.commit([process], now_ms=1_700_000_000_000, block_height=7).work
    writer.close()
    [entry] = [each.entry for works in work.values() for each in works]
    auditor.process, auditor.pairs = process.process_id, [(entry.item, entry.assignment)]
    auditor.publish()
    assert (await auditor.verify())["nonce"] == 0
