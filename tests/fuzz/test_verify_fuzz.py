"""`aoray verify` of an Arweave that lies anyhow: a named fault, or the truth; no traceback, and an end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson
import pytest
from fastapi import FastAPI
from fuzz_strategies import fuzz, stack_of_a_server
from guests import counter
from hypothesis import strategies as st
from ordering import SCHEDULER, USER, assign, bundle, committer, message, spawn

from aoray import limits
from aoray.arweave.client import ArweaveClient
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.errors import AorayError
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.assignments import LogEntry
from aoray.protocol.attestations import Statement, attest, result_hash
from aoray.protocol.modules import module_tags
from aoray.protocol.tags import Tag
from aoray.verify.replay import replayed

MODULE = build(USER, tags=module_tags("wasm32-wasi"), data=counter())
EVAL = (("Data-Protocol", "ao"), ("Type", "Message"))
REQUESTS_MAX = 400
"""A true log of this size takes some twenty; a liar may not make it endless."""
ABOUT_ATTESTERS = ("attest", "compute_units")
"""In the names of what a report says of attestations: an Arweave can hide them, as it can cut a log."""


class Lie(NamedTuple):
    """Which answers are changed: those of the paths with this in it, from the nth on; and how."""

    path: str
    first: int
    last: int
    seed: int
    changes: int


lies = st.builds(
    Lie,
    st.sampled_from(["/graphql", "/graphql", "/graphql", "/raw/", "/item", "/"]),
    st.integers(0, 3),
    st.sampled_from([0, 0, 1, 10**6]),
    st.integers(0, 2**32),
    st.integers(1, 3),
)


class Liar(httpx.AsyncBaseTransport):
    """A true Arweave's answers, some of them changed."""

    def __init__(self, app: FastAPI) -> None:
        self._true = httpx.ASGITransport(app)
        self.lies: list[Lie] = []
        self.requests: list[str] = []

    def tell(self, lies: list[Lie]) -> None:
        self.lies, self.requests = lies, []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.requests.append(path)
        assert len(self.requests) < REQUESTS_MAX, "it goes on for ever"
        response = await self._true.handle_async_request(request)
        body, status = await response.aread(), response.status_code
        for lie in self.lies:
            nth = sum(lie.path in each for each in self.requests) - 1
            if lie.path in path and lie.first <= nth <= lie.first + lie.last:
                chance = random.Random(f"{lie.seed} {path}")
                for _ in range(lie.changes):
                    status, body = changed(chance, status, body)
        return httpx.Response(status, content=body)


def changed(chance: random.Random, status: int, body: bytes) -> tuple[int, bytes]:
    if chance.random() < 0.05:
        return chance.choice([200, 204, 400, 404, 429, 500]), body
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return status, damaged(chance, body)
    return status, damaged(chance, body) if chance.random() < 0.1 else orjson.dumps(altered(chance, value))


def damaged(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body) + 1)
    cut = chance.choice([0, 1, 1, 1, 32, len(body)])
    return body[:at] + chance.randbytes(chance.choice([0, 0, 1, 1, 8])) + body[at + cut :]


STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    1.5,
    "",
    "x",
    "A" * 43,
    "9" * 30,
    "\0",
    [],
    {},
    [0] * 32,
    [{}],
    {"a": 1},
]


def altered(chance: random.Random, value: Any) -> Any:
    """JSON with one place changed; places near the top as likely as the many deep ones."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        return chance.choice(STRANGE)
    place = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
    kind = chance.randrange(12)
    if kind == 0:
        value[place] = chance.choice(STRANGE)
    elif kind == 1:
        del value[place]
    elif kind == 2:
        value[place] = orjson.loads(
            orjson.dumps(value[chance.choice(list(value))] if isinstance(value, dict) else value)
        )
    elif kind == 3 and isinstance(value, list):
        value.append(value[place])
    else:
        value[place] = altered(chance, value[place])
    return value


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Liar, str]]:
    """An Arweave with a log of a process: messages, one of them assigned from another; it is attested."""
    folder = tmp_path_factory.mktemp("arweave")
    tags = (("Data-Protocol", "ao"), ("Type", "Process"), ("Module", MODULE.id))
    process, other = spawn(("Scheduler", SCHEDULER.address), tags=tags), spawn()
    theirs = message(other.process_id)
    own = [message(process.process_id, tags=EVAL) for _ in range(4)]
    writer = committer(folder / "log")
    batch = [process, other, *own, theirs, assign(process.process_id, theirs)]
    work = writer.commit(batch, now_ms=1_700_000_000_000, block_height=7).work
    writer.close()
    log = [
        each.entry for works in work.values() for each in works if each.entry.process_id == process.process_id
    ]
    with ArweaveStore(folder / "arweave.sqlite", trusted=[SCHEDULER.address]) as store:
        store.put(MODULE)
        for at in range(0, len(log), 3):
            store.put(bundle(SCHEDULER, [(entry.item, entry.assignment) for entry in log[at : at + 3]]))
        app = FastAPI()
        app.include_router(router(store))
        liar = Liar(app)
        for item in asyncio.run(attestations(liar, process.process_id, folder / "compiled")):
            store.put(item)
        yield liar, process.process_id


async def attestations(liar: Liar, process: str, compiled: Path) -> list[DataItem]:
    """Who computes for the scheduler, and what it says of each slot, in three items."""
    said: list[Statement] = []

    async def say(entry: LogEntry, result: bytes) -> None:
        said.append(Statement(entry.nonce, entry.message_id, result_hash(result)))

    client = ArweaveClient("http://arweave", transport=liar)
    async with client, replayed(client, process, compiled=compiled, compare=say):
        pass
    tags = [Tag("Type", "Scheduler-Location"), Tag("Compute-Unit", USER.address)]
    items = [attest(USER, process, said[at : at + 2]) for at in range(0, len(said), 2)]
    return [build(SCHEDULER, tags=tags, data=b" "), *items]


def found_in(report: dict[str, Any]) -> dict[str, Any]:
    """What a report says of the log, whoever makes it."""
    left_out = [name for name in report if any(word in name for word in ABOUT_ATTESTERS)]
    left_out += ["seconds", "messages_per_second"]
    return {name: value for name, value in report.items() if name not in left_out}


def test_whatever_arweave_answers_the_log_is_true_or_the_fault_is_named(
    liar: tuple[Liar, str], compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, process = liar
    monkeypatch.setattr(limits, "VERIFY_PAGE_ENTRIES", 2)
    monkeypatch.setattr(limits, "VERIFY_LIST_ENTRIES", 2)

    async def verified(lies: list[Lie]) -> dict[str, Any] | None:
        transport.tell(lies)
        async with ArweaveClient("http://arweave", transport=transport) as client:
            try:
                async with replayed(client, process, compiled=compiled) as run:
                    return found_in(run.report())
            except AorayError as error:
                assert error.message
                return None

    with asyncio.Runner() as runner:
        truth = runner.run(verified([]))
        assert truth and truth["messages"] == 6 and len(transport.requests) < 30

        @fuzz(120, st.lists(lies, min_size=1, max_size=2))
        def lie(lies: list[Lie]) -> None:
            with stack_of_a_server():
                found = runner.run(verified(lies))
            assert found is None or found == truth or found["messages"] < truth["messages"], (
                "a log can be cut"
            )

        lie()
