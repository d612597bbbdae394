"""The attester: every slot that has a result is attested once, in order, whatever crashes between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ordering import committer, message, spawn

from aoray import limits
from aoray.actors.dependencies import open_checkpoints
from aoray.errors import Unavailable
from aoray.protocol.ans104.items import parse, verify
from aoray.protocol.attestations import Statement, result_hash, statements_of
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import first
from aoray.scheduler.attester import Attester
from aoray.scheduler.committer import Committer
from aoray.settings import Settings
from aoray.storage.factory import open_results
from aoray.storage.log import Log
from aoray.storage.records import CheckpointRow, ResultRow
from aoray.vm.interface import Changes

COMPUTE = generate_ed25519()
STATE = "5" * 64


class Attesting:
    """A log and results, and whoever attests them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.results = open_results(settings)
        self.writer: Committer = committer(settings)
        self.failures = 0
        self.attester = self.made()

    def made(self) -> Attester:
        async def on_log(function: Callable[[Log], Any]) -> Any:
            return function(self.writer.log)

        return Attester(on_log, self.results, COMPUTE)

    def spawn(self, messages: int) -> str:
        """A process with so many messages in the log; its id."""
        process = spawn()
        batch = [process, *(message(process.process_id) for _ in range(messages))]
        self.writer.commit(batch, now_ms=1, block_height=0)
        return process.process_id

    def evaluate(self, process_id: str, nonces: range) -> list[Statement]:
        """Write results; what is to be said of them."""
        rows = [
            ResultRow(process_id, n, process_id, f"a{n}", n, 0, b"%d" % n, False, "", True) for n in nonces
        ]
        self.results.commit({process_id: 1}, rows)
        return [Statement(row.nonce, row.message_id, result_hash(row.result)) for row in rows]

    def checkpoint(self, process_id: str, nonce: int) -> None:
        row = CheckpointRow(process_id, nonce, 1, nonce, 0, STATE, "", 0)
        store = open_checkpoints(self.settings)
        store.write(row, "base", Changes(0, (), (), b""))
        store.close()

    def published(self) -> dict[str, list[list[Statement]]]:
        """What is on its way to Arweave, by process, in order."""
        found: dict[str, list[list[Statement]]] = {}
        rows = self.writer.log._rows("SELECT item FROM publications ORDER BY seq")  # type: ignore[attr-defined]
        for (raw,) in rows:
            item = parse(raw)
            verify(item)
            assert item.address == COMPUTE.address
            process_id = first(item.tags, "Process", "")
            found.setdefault(process_id, []).append(statements_of(item, process_id))
        return found


@pytest.fixture
def computer(stored: Settings) -> Iterator[Attesting]:
    made = Attesting(stored)
    yield made
    made.writer.close()
    made.results.close()


async def test_results_are_attested_once_in_batches_by_process(computer: Attesting) -> None:
    one, two = computer.spawn(9), computer.spawn(9)
    first_of_one, first_of_two = computer.evaluate(one, range(4)), computer.evaluate(two, range(1))
    await computer.attester.attest_all()
    await computer.attester.attest_all()
    assert computer.published() == {one: [first_of_one], two: [first_of_two]}
    more = computer.evaluate(one, range(4, 10))
    await computer.attester.attest_all()
    assert computer.published() == {one: [first_of_one, more], two: [first_of_two]}
    assert computer.attester.attested == 11


async def test_a_new_attester_goes_on_where_the_last_one_was(computer: Attesting) -> None:
    """Also if the disk forgot results meanwhile, and they were made again in another order."""
    one, two = computer.spawn(9), computer.spawn(9)
    said = [computer.evaluate(one, range(3)), computer.evaluate(two, range(2))]
    await computer.attester.attest_all()
    with computer.results._writes.transaction() as db:
        db.execute("DELETE FROM results")
    computer.attester = computer.made()
    computer.evaluate(two, range(2))
    await computer.attester.attest_all()
    more = computer.evaluate(one, range(5))[3:]
    await computer.attester.attest_all()
    assert computer.published() == {one: [said[0], more], two: [said[1]]}


async def test_a_long_backlog_is_attested_in_bounded_items_without_gap(
    computer: Attesting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ATTESTATION_SLOTS_MAX", 6)
    monkeypatch.setattr(limits, "ATTEST_PROCESSES_MAX", 2)
    monkeypatch.setattr(limits, "PAGE_ENTRIES_MAX", 2)
    processes = [computer.spawn(7) for _ in range(5)]
    said = {process: computer.evaluate(process, range(8)) for process in processes}
    await computer.attester.attest_all()
    found = computer.published()
    assert {process: [slot for part in parts for slot in part] for process, parts in found.items()} == said
    assert {len(part) for parts in found.values() for part in parts} == {3, 2}


async def test_a_write_that_fails_is_tried_again(
    computer: Attesting, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = computer.spawn(3)
    await computer.attester.attest_all()
    said = computer.evaluate(process, range(2))
    keep = computer.writer.log.attested.keep

    def fail(*_: Any) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(computer.writer.log.attested, "keep", fail)
    with pytest.raises(Unavailable):
        await computer.attester.attest_all()
    monkeypatch.setattr(computer.writer.log.attested, "keep", keep)
    await computer.attester.attest_all()
    assert computer.published() == {process: [said]}


async def test_the_state_of_every_checkpoint_is_attested(computer: Attesting) -> None:
    """With the result if it comes at once, and alone if it comes later; also when the checkpoint is gone."""
    process = computer.spawn(9)
    said = computer.evaluate(process, range(4))
    computer.checkpoint(process, 2)
    await computer.attester.attest_all()
    for nonce in (3, 1, 0):  # a predecessor's, late: the state of slot 3 is said, those before 2 are passed
        computer.checkpoint(process, nonce)
    await computer.attester.attest_all()
    with_state = [slot._replace(state_hash=STATE) for slot in said]
    assert computer.published() == {process: [[*said[:2], with_state[2], said[3]], [with_state[3]]]}


async def test_a_process_of_another_shard_is_not_attested(computer: Attesting) -> None:
    computer.evaluate("p" * 43, range(3))
    process = computer.spawn(1)
    await computer.attester.attest_all()
    computer.evaluate("q" * 43, range(3))
    said = computer.evaluate(process, range(2))
    await computer.attester.attest_all()
    assert computer.published() == {process: [said]}
