"""Messages between processes go from the actor to the shard: the same items, in order, once, marked when
they are durable; whatever can't go so is handed to the messenger whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from evaluating import until
from scheduling import spawn

from aoray import limits
from aoray.actors.results import ResultRow, Results
from aoray.actors.short_way import ShortWay
from aoray.errors import AorayError, Overloaded, Unavailable, UnknownProcess
from aoray.keyfiles import load_key
from aoray.protocol.ids import b64url_encode
from aoray.protocol.items import DataItem, parse, verify
from aoray.protocol.tags import first
from aoray.scheduler.rules import Receipt, Submission
from aoray.settings import Settings
from aoray.tasks import Tasks

SENDER = spawn()
PROCESS = SENDER.process_id
ONE, OTHER, WALLET = (b64url_encode(bytes([n]) * 32) for n in (1, 2, 3))


class Road:
    """An actor's short way, a shard that takes what is for ONE and OTHER, and a messenger that listens."""

    def __init__(self, data: Path) -> None:
        self.settings = Settings(data=data, shards=2)
        self.results = Results(data / "results.sqlite")
        self.taken: list[DataItem] = []
        self.asked = 0
        self.fault: AorayError | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.long_way: list[ResultRow] = []
        self.tasks = Tasks("actor")
        self.way = ShortWay(
            "actor", self.settings, self.call, self.results, self.items, self.long_way.append, self.tasks
        )
        self.nonce = 0

    async def items(self, process_ids: Sequence[str]) -> list[bytes | None]:
        await asyncio.sleep(0)
        return [SENDER.item if process_id == PROCESS else None for process_id in process_ids]

    async def call(self, actor: str, method: str, *arguments: Any) -> Any:
        assert (actor[:6], method) == ("shard-", "submit")
        self.asked += 1
        await self.open.wait()
        if self.fault:
            raise self.fault
        return [self._answer(submission) for submission in arguments[0]]

    def _answer(self, submission: Submission) -> Receipt | AorayError:
        if submission.process_id == WALLET:
            return UnknownProcess("no such process")
        item = parse(submission.item)
        self.taken.append(item)
        return Receipt(submission.process_id, item.id, "", len(self.taken), 1, "actor", True)

    def row(self, *targets: str, process_id: str = PROCESS, **more: Any) -> ResultRow:
        """A result that is written, and sends to these."""
        messages = [{"Target": target, "Data": str(self.nonce), "Tags": []} for target in targets]
        result = orjson.dumps({"Messages": messages, **more})
        row = ResultRow(
            process_id, self.nonce, f"m{self.nonce}", f"a{self.nonce}", 1, 1, result, False, "", False
        )
        self.nonce += 1
        self.results.commit({process_id: 1}, [row])
        return row

    def state(self, row: ResultRow) -> tuple[bool, list[str]]:
        found = self.results.at(row.process_id, row.nonce)
        assert found is not None
        return found.pushed, [each.state for each in self.results.deliveries.of(*row[:2])]


@pytest.fixture
async def road(tmp_path: Path) -> AsyncIterator[Road]:
    made = Road(tmp_path)
    yield made
    await made.tasks.cancel()
    made.results.close()


async def test_an_outbox_is_delivered_and_marked_without_the_messenger(road: Road) -> None:
    row = road.row(ONE, OTHER)
    road.way.push(row)
    await until(lambda: road.state(row)[0])
    assert road.state(row) == (True, ["delivered", "delivered"])
    assert sorted(item.target_id for item in road.taken) == sorted([ONE, OTHER])
    for item in road.taken:
        verify(item)
        assert item.address == load_key(road.settings, "authority").address
        assert first(item.tags, "From-Process") == PROCESS
        assert first(item.tags, "From-Nonce") == "0"
    ids = {each.item_id for each in road.results.deliveries.of(*row[:2])}
    assert ids == {item.id for item in road.taken}
    assert road.long_way == []
    assert road.way.stage.snapshot()[2:4] == (1, 0)


async def test_what_goes_twice_is_the_same_item(road: Road) -> None:
    row = road.row(ONE)
    road.way.push(row)
    road.way.push(row)
    await until(lambda: len(road.taken) == 2)
    assert road.taken[0].raw == road.taken[1].raw


async def test_messages_to_one_target_keep_their_order(road: Road) -> None:
    rows = [road.row(ONE) for _ in range(100)]
    for row in rows:
        road.way.push(row)
    await until(lambda: road.state(rows[-1])[0])
    assert [item.data for item in road.taken] == [str(nonce).encode() for nonce in range(100)]


async def test_what_goes_to_a_wallet_goes_the_long_way_and_is_asked_for_once(road: Road) -> None:
    row, again = road.row(ONE, WALLET), road.row(WALLET)
    road.way.push(row)
    await until(lambda: bool(road.long_way))
    assert road.long_way == [row]
    assert road.state(row) == (False, [])
    asked = road.asked
    road.way.push(again)
    await until(lambda: len(road.long_way) == 2)
    assert road.asked == asked


@pytest.mark.parametrize("fault", [Unavailable("it restarts"), Overloaded("it is full")])
async def test_while_a_shard_is_away_or_full_all_goes_the_long_way(road: Road, fault: AorayError) -> None:
    road.fault = fault
    rows = [road.row(ONE) for _ in range(3)]
    for row in rows:
        road.way.push(row)
    await until(lambda: len(road.long_way) == 3)
    assert road.long_way == rows
    road.fault = None
    road.way.push(last := road.row(ONE))
    await until(lambda: road.state(last)[0])


@pytest.mark.parametrize(
    "more",
    [
        {"Spawns": [{"Tags": [{"name": "Module", "value": ONE}]}]},
        {"Assignments": [{"Message": ONE, "Processes": [OTHER]}]},
        {"Messages": [{"Target": ONE, "Tags": [{"name": "Assignments", "value": OTHER}]}]},
        {"Messages": [{"Target": ONE, "Tags": []}, {"Target": "nobody", "Tags": []}]},
        {"Messages": [{"Target": ONE, "Tags": []}] * (limits.PUSH_SLICE_MESSAGES + 1)},
        {"Messages": [{"Target": ONE, "Tags": [], "Data": "x" * limits.PUSH_HANDED_BYTES_MAX}]},
    ],
    ids=["spawn", "assignment", "assigned", "faulty", "many", "large"],
)
async def test_an_outbox_that_is_more_than_a_few_messages_goes_the_long_way(
    road: Road, more: dict[str, Any]
) -> None:
    row = road.row(**more)
    road.way.push(row)
    await until(lambda: bool(road.long_way))
    assert (road.long_way, road.asked) == ([row], 0)


async def test_no_more_is_under_way_than_the_bound(road: Road) -> None:
    road.open.clear()
    rows = [road.row(ONE) for _ in range(limits.SHORT_WAY_RESULTS_MAX + 5)]
    for row in rows:
        road.way.push(row)
    assert road.long_way == rows[-5:]
    road.open.set()
    await until(lambda: all(road.state(row)[0] for row in rows[:-5]))


async def test_a_sender_that_is_not_in_the_log_is_left_to_the_messenger(road: Road) -> None:
    row = road.row(ONE, process_id=OTHER)
    road.way.push(row)
    await until(lambda: bool(road.long_way))
    assert (road.long_way, road.asked) == ([row], 0)
