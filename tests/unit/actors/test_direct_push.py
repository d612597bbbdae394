"""Messages between processes go from the actor to the shard: the same items, in order, once, marked when
they are durable; whatever can't go so is handed to the messenger whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from ordering import spawn
from polling import until

from aoray import limits
from aoray.actors.direct_push import DirectPush
from aoray.contracts.gateway import Announced
from aoray.contracts.shard import Receipt, Submission
from aoray.errors import AorayError, Overloaded, Unavailable
from aoray.outbox.push_quota import PushQuota
from aoray.protocol.ans104.items import DataItem, parse, verify
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signed import SignedMessage
from aoray.protocol.tags import first
from aoray.settings import Settings
from aoray.storage.key_files import load_key
from aoray.storage.records import ResultRow
from aoray.storage.results import Results
from aoray.util.tasks import SupervisedTasks

SENDER = spawn()
PROCESS = SENDER.process_id
ONE, OTHER, WALLET = (b64url_encode(bytes([n]) * 32) for n in (1, 2, 3))


class Writing(ThreadPoolExecutor):
    """Its store is away for a while."""

    def __init__(self, road: Road) -> None:
        super().__init__(1)
        self._road = road

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        return super().submit(self._or_away, function, *arguments, **more)

    def _or_away(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        if self._road.lost_settlements:
            self._road.lost_settlements -= 1
            raise Unavailable("the store is away")
        return function(*arguments, **more)


class Road:
    """An actor's direct push, a shard that takes what is for ONE and OTHER, and a messenger that listens."""

    def __init__(self, data: Path) -> None:
        self.settings = Settings(data=data, shards=2)
        self.results = Results(data / "results.sqlite")
        self.taken: list[DataItem] = []
        self.asked = 0
        self.fault: AorayError | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.long_way: list[Announced] = []
        self.full: set[str] = set()
        self.tasks = SupervisedTasks("actor")
        self.lost_settlements = 0
        self.looked: list[str] = []
        self.way = DirectPush(
            *("actor", self.settings, self.call, self.results, Writing(self), self.items),
            *(self.long_way.append, self.tasks),
        )
        self.nonce = 0

    async def items(self, process_ids: Sequence[str]) -> list[SignedMessage | None]:
        await asyncio.sleep(0)
        self.looked += process_ids
        return [parse(SENDER.item) if each in (PROCESS, ONE, OTHER) else None for each in process_ids]

    async def call(self, actor: str, method: str, *arguments: Any) -> Any:
        assert (actor[:6], method) == ("shard-", "submit")
        self.asked += 1
        await self.open.wait()
        if self.fault:
            raise self.fault
        return [self._answer(submission) for submission in arguments[0]]

    def _answer(self, submission: Submission) -> Receipt | AorayError:
        if submission.process_id in self.full:
            return Overloaded("its actor is behind")
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
    await until(lambda: road.way.stage.snapshot()[2:4] == (1, 0))


async def test_what_goes_twice_is_the_same_item(road: Road) -> None:
    row = road.row(ONE)
    road.way.push(row)
    road.way.push(row)
    await until(lambda: len(road.taken) == 2)
    assert road.taken[0].raw == road.taken[1].raw


async def test_messages_to_one_target_keep_their_order_whatever_else_is_in_their_outboxes(road: Road) -> None:
    rows = [road.row(ONE, *([OTHER, WALLET] if nonce % 3 == 0 else [])) for nonce in range(100)]
    for row in rows:
        road.way.push(row)
    await until(lambda: road.state(rows[98])[0] and len(road.long_way) == 34)
    assert [item.data for item in road.taken if item.target_id == ONE] == [
        b"%d" % nonce for nonce in range(100)
    ]


async def test_what_is_for_a_wallet_is_left_to_the_messenger_and_the_rest_is_marked(road: Road) -> None:
    row = road.row(ONE, WALLET, OTHER)
    road.way.push(row)
    await until(lambda: bool(road.long_way))
    assert road.long_way == [row[:2]], "it was tried, so the store knows more than the row"
    assert road.state(row) == (False, ["delivered", "pending", "delivered"])
    left = road.results.deliveries.of(*row[:2])[1]
    assert (left.target, left.attempts, left.first_ms) == (WALLET, 0, 0)
    assert len(left.item_id) == 43


async def test_what_is_for_wallets_alone_costs_one_look_and_no_call(road: Road) -> None:
    rows = [road.row(WALLET) for _ in range(3)]
    for row in rows:
        road.way.push(row)
    await until(lambda: len(road.long_way) == 3)
    assert (road.long_way, road.asked) == (rows, 0)
    assert road.looked == [PROCESS, WALLET]


async def test_a_wallet_is_looked_for_again_after_a_while(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NO_PROCESS_SECONDS", -1)
    for _ in range(2):
        road.way.push(road.row(WALLET))
    await until(lambda: len(road.long_way) == 2)
    assert road.looked == [PROCESS, WALLET, WALLET]


@pytest.mark.parametrize("fault", [Unavailable("it restarts"), Overloaded("it is full")])
async def test_while_a_shard_is_away_or_full_all_goes_the_long_way(road: Road, fault: AorayError) -> None:
    road.fault = fault
    rows = [road.row(ONE) for _ in range(3)]
    for row in rows:
        road.way.push(row)
    await until(lambda: len(road.long_way) == 3)
    assert road.long_way == [row[:2] for row in rows]
    road.fault = None
    road.way.push(last := road.row(ONE))
    await until(lambda: road.state(last)[0])


async def test_what_one_process_has_no_room_for_is_left_to_the_messenger_alone(road: Road) -> None:
    road.full.add(OTHER)
    row = road.row(ONE, OTHER)
    road.way.push(row)
    await until(lambda: bool(road.long_way))
    assert road.state(row) == (False, ["delivered", "pending"])


async def test_while_the_store_is_away_what_is_delivered_waits_to_be_marked(road: Road) -> None:
    road.lost_settlements = 2
    row = road.row(ONE)
    road.way.push(row)
    await until(lambda: road.state(row)[0])
    assert (len(road.taken), road.lost_settlements, road.long_way) == (1, 0, [])


async def test_a_fault_in_one_outbox_does_not_end_the_way(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = road.row(ONE)._replace(result=b"no JSON")
    road.way.push(first)
    road.way.push(second := road.row(ONE))
    await until(lambda: road.state(second)[0])
    assert road.long_way == [first]


@pytest.mark.parametrize(
    "more",
    [
        {"Spawns": [{"Tags": [{"name": "Module", "value": ONE}]}]},
        {"Assignments": [{"Message": ONE, "Processes": [OTHER]}]},
        {"Messages": [{"Target": ONE, "Tags": [{"name": "Assignments", "value": OTHER}]}]},
        {"Messages": [{"Target": "nobody", "Tags": []}]},
        {"Messages": [{"Target": ONE, "Tags": []}] * (limits.PUSH_SLICE_MESSAGES + 1)},
        {"Messages": [{"Target": ONE, "Tags": [], "Data": "x" * limits.PUSH_HANDED_BYTES_MAX}]},
    ],
    ids=["spawn", "assignment", "assigned", "faulty", "many", "large"],
)
async def test_an_outbox_beyond_a_few_messages_to_processes_goes_by_the_gateway(
    road: Road, more: dict[str, Any]
) -> None:
    row = road.row(**more)
    road.way.push(row)
    await until(lambda: bool(road.long_way))
    assert (road.long_way, road.asked) == ([row], 0)


async def test_no_more_is_under_way_than_the_bound(road: Road) -> None:
    road.open.clear()
    rows = [road.row(ONE) for _ in range(limits.DIRECT_PUSH_RESULTS_MAX + 5)]
    for row in rows:
        road.way.push(row)
    assert road.long_way == rows[-5:]
    road.open.set()
    await until(lambda: all(road.state(row)[0] for row in rows[:-5]))


async def test_a_sender_that_is_not_in_the_log_is_left_to_the_messenger(road: Road) -> None:
    row = road.row(ONE, process_id=WALLET)
    road.way.push(row)
    await until(lambda: bool(road.long_way))
    assert (road.long_way, road.asked) == ([row], 0)


async def test_what_is_over_the_quota_of_its_process_stays_in_the_store(road: Road) -> None:
    road.way.quota = PushQuota(Settings(push_rate_per_process=1, push_burst_seconds=3), lambda: 0.0)
    rows = [road.row(ONE) for _ in range(5)]
    for row in rows:
        road.way.push(row)
    await until(lambda: len(road.taken) == 3 and bool(road.way.quota.held()))
    road.way.push(road.row(ONE))  # not even looked at
    await until(lambda: all(road.state(row)[0] for row in rows[:3]))
    assert (len(road.taken), road.long_way) == (3, [])
    assert not any(road.state(row)[0] for row in rows[3:])
