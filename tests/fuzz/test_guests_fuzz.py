"""A module may answer anything: it gets an error or a right outbox, and harms neither actor nor pusher.

The guest is real WASM that says what its message tells it to. Its results go the whole way: instance, served
JSON, results store, outbox, pusher, and every route that shows them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fake_arweave import MODULE
from fake_computer import Computer
from fuzz_requests import PARROT, SECONDS_MAX
from fuzz_strategies import deep, fuzz, ids, levels, spelled, stack_of_a_server, texts, values
from guests import wat
from hypothesis import example
from hypothesis import strategies as st

from aoray import limits
from aoray.execution.guest_input import to_guest_message
from aoray.execution.guest_output import to_result
from aoray.gateway import apps
from aoray.protocol.ans104.items import DataItem, parse, verify
from aoray.protocol.assignments import LogEntry
from aoray.storage.records import Delivery, ResultRow
from aoray.vm.interface import Limits
from aoray.vm.wasm import WasmEngine, WasmInstance

ABSENT_ATTEMPTS_MAX = 3
KEYS = ["Messages", "Assignments", "Spawns", "Output", "GasUsed"]


class Many(list[Any]):
    """A long list that is shown in short."""

    def __repr__(self) -> str:
        return f"<{len(self)} times {self[0]!r}>"


class Speaking(Computer):
    """Its processes are parrots, all with one memory, which the parrot does not use."""

    instance: WasmInstance

    def _row(self, entry: LogEntry) -> ResultRow:
        made = to_guest_message(entry, self.gateway.addresses.authority)
        with stack_of_a_server():
            result, has_error, has_outbox = to_result(self.instance.evaluate(made.message, b"{}"))
        place = entry.process_id, entry.nonce, entry.message_id, entry.assignment_id, entry.timestamp
        return ResultRow(*place, made.block_height, result, has_error, made.pushed_for, not has_outbox)


@pytest.fixture(scope="module")
def engine(compiled: Path) -> WasmEngine:
    return WasmEngine(compiled)


@pytest.fixture
def computer(tmp_path: Path, engine: WasmEngine, runner: asyncio.Runner) -> Iterator[Speaking]:
    (tmp_path / "lua-module.json").write_bytes(orjson.dumps({"id": MODULE}))

    async def make() -> Speaking:
        return Speaking(tmp_path, push_foreign_attempts_max=ABSENT_ATTEMPTS_MAX)

    made = runner.run(make())
    made.instance = WasmInstance.boot(engine.load(wat(PARROT.read_text())), Limits())
    yield made
    made.instance.close()


PROTOCOL_NAMES = [
    "Data-Protocol",
    "Type",
    "Variant",
    "From-Process",
    "from_process",
    "FROM-NONCE",
    "From-Index",
]
PROTOCOL_NAMES += [
    "Pushed-For",
    "Assignments",
    "Module",
    "Scheduler",
    "Action",
    "Reference",
    "Message",
    "x+link",
    "",
]
PROTOCOL_VALUES = ["ao", "Message", "Process", "Assignment", MODULE, "y+link", "a" * 9000, ""]


def outboxes(known: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Responses that are nearly right: each part may be any JSON in place of what it should be."""
    some = st.sampled_from([*known, MODULE])

    def often(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.integers(0, 11).flatmap(lambda which: right if which else values)

    def rarely(value: Any, instead_of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.integers(0, 29).flatmap(lambda which: instead_of if which < 29 else st.just(value))

    id = often(st.integers(0, 4).flatmap(lambda which: some if which else ids))
    tag = st.fixed_dictionaries(
        {
            "name": often(st.sampled_from([*PROTOCOL_NAMES, "Of its own", "\u0130", "e\u0301"])),
            "value": often(
                some | st.sampled_from(PROTOCOL_VALUES) | st.lists(some, max_size=3).map(",".join)
            ),
        }
    )
    spawning = st.just([{"name": "Module", "value": MODULE}])
    tags = often(st.lists(often(tag), max_size=5) | spawning)
    entry = {
        "Target": id,
        "Anchor": often(st.just("0" * 32) | texts),
        "Data": often(texts),
        "Tags": rarely(Many([{"name": "n", "value": "v"}] * 1_001), tags),
        "Message": id,
        "Processes": rarely(Many(known * 400), often(st.lists(id, max_size=4))),
        "Exclude": often(st.lists(texts, max_size=3)),
        "BaseLayer": values,
    }

    def box(*needed: str) -> st.SearchStrategy[Any]:
        required = {name: entry[name] for name in needed}
        rest = {name: value for name, value in entry.items() if name not in needed}
        return often(st.lists(often(st.fixed_dictionaries(required, optional=rest)), max_size=4))

    boxes = {
        "Messages": box("Target", "Tags"),
        "Spawns": box("Tags"),
        "Assignments": box("Message", "Processes"),
    }
    more = {"Output": values, "GasUsed": values}
    whole = st.fixed_dictionaries({}, optional=boxes | more | {"Error": values})
    return st.fixed_dictionaries(boxes, optional=more) | whole


def answers(known: list[str]) -> st.SearchStrategy[bytes]:
    """Bytes that a module may leave in its memory."""
    response = outboxes(known)
    whole = st.fixed_dictionaries({"ok": st.just(True) | values, "response": response | values})
    kinds = [
        response.map(lambda said: spelled({"ok": True, "response": said})),
        whole.map(spelled),
        values.map(spelled),
        st.binary(max_size=40),
        st.tuples(whole.map(spelled), st.binary(max_size=4), st.integers(0, 200)).map(
            lambda parts: parts[0][: parts[2]] + parts[1] + parts[0][parts[2] :]
        ),
        st.tuples(st.sampled_from([b"Output", b"Error", b"Messages", b"Spawns"]), levels).map(
            lambda parts: b'{"ok":true,"response":{"%s":%s}}' % (parts[0], deep(parts[1] - 2))
        ),
        levels.map(lambda n: b'{"ok":true,"response":{"Messages":[{"Data":%s}]}}' % deep(n - 4)),
        levels.map(lambda n: b'{"ok":false,"response":%s}' % deep(n - 1)),
    ]
    return st.integers(0, 11).flatmap(lambda which: kinds[max(0, which - 4)])


def test_whatever_a_module_answers_is_a_result_and_its_outbox_comes_to_an_end(
    computer: Speaking, runner: asyncio.Runner
) -> None:
    async def said(process: str, answer: bytes) -> tuple[str, ResultRow]:
        """The result of what a module answers, when all of its outbox has come to its end."""
        message = await computer.send(process, data=answer.hex().encode())
        async with asyncio.timeout(SECONDS_MAX):  # an outbox that does not come to its end
            while True:
                row = computer.results.get(process, message)
                if row and row.pushed and not len(computer.gateway.pusher):
                    return message, row
                await asyncio.sleep(0)

    app = apps.all_units(computer.gateway, None)

    async def show(process: str, message: str) -> None:
        queries = [
            f"/result/{message}?process-id={process}",
            f"/results/{process}?sort=DESC&limit=3",
            f"/outbox/{process}?limit=5",
            f"/trace/{message}",
            f"/{message}?process-id={process}",
            f"/{process}/latest",
        ]
        async with computer.http(app) as client:
            for query in queries:
                check(query, await client.get(query))

    def check(query: str, response: httpx.Response) -> None:
        assert response.status_code == 200, (query, response.text)
        response.json()

    process, other = runner.run(computer.spawn()), runner.run(computer.spawn())
    known = [process, other, runner.run(computer.send(other, data=b"7b7d"))]

    nowhere = {"Tags": [{"name": "Module", "value": process}]}

    @fuzz(80, answers(known))
    @example(spelled({"ok": True, "response": {"Messages": [], "Assignments": [], "Spawns": [nowhere]}}))
    def speak(answer: bytes) -> None:
        message, row = runner.run(said(process, answer))
        check_result(row)
        check_deliveries(computer, row)
        with stack_of_a_server():
            runner.run(show(process, message))

    speak()


def check_result(row: ResultRow) -> None:
    """The shape of docs/wire-contract.md §3.1, whatever was said."""
    result = orjson.loads(row.result)
    assert [*result] == KEYS + ["Error"] * row.has_error
    if row.has_error:
        assert isinstance(result["Error"], str) and not any(result[box] for box in KEYS[:3])
    for box in KEYS[:3]:
        assert isinstance(result[box], list) and all(isinstance(each, dict) for each in result[box])


def check_deliveries(computer: Speaking, row: ResultRow) -> None:
    """As many as the outbox has, each at an end; what is scheduled says truly from which slot it is."""
    deliveries = computer.results.deliveries.of(row.process_id, row.nonce)
    skipped = sum(each.state == "skipped" for each in deliveries)
    assert len(deliveries) - skipped <= limits.OUTBOX_MESSAGES_MAX
    assert len(deliveries) <= 2 * limits.OUTBOX_MESSAGES_MAX, "each entry may be cut, and say so"
    assert [each.place for each in deliveries] == list(range(len(deliveries)))
    for each in deliveries:
        sent_off = each.state in ("delivered", "uploaded")
        assert sent_off or (each.state == "skipped" and each.error) or is_nowhere(each), each
        if each.kind != "assignment" and sent_off:
            check_sender(computer, row, sent(computer, each))


def is_nowhere(delivery: Delivery) -> bool:
    """Whether it was given up, after all its attempts, since it names what Arweave never showed."""
    tries = delivery.attempts == ABSENT_ATTEMPTS_MAX
    return delivery.state == "dead" and tries and re.match("no (module|message) ", delivery.error) is not None


def sent(computer: Speaking, delivery: Delivery) -> DataItem:
    """The item that an outbox message or a spawn became."""
    if delivery.state == "uploaded":
        found = next(raw for raw in computer.arweave.posted if parse(raw).id == delivery.item_id)
    else:
        entry = computer.gateway.lookups.reader.entry(delivery.target, delivery.item_id)
        assert entry is not None, delivery
        found = entry.item
    return parse(found)


def check_sender(computer: Speaking, row: ResultRow, item: DataItem) -> None:
    """Our messenger signed it, and whatever the guest said, it says once and truly from where it is."""
    verify(item)
    assert item.address == computer.gateway.addresses.authority
    for name, value in (("from-process", row.process_id), ("from-nonce", str(row.nonce))):
        said = [tag for tag in item.tags if tag.name.lower().replace("_", "-") == name]
        assert [tag.value for tag in said] == [value], (name, said)
