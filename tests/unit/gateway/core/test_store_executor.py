"""A store on a server: the gateway's event loop never waits for it."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fake_arweave import MODULE
from fake_computer import EMPTY, Computer
from polling import until

from aoray import limits
from aoray.gateway.gateway import Gateway
from aoray.storage.factory import open_readers

SECONDS_MAX = 20  # that a thread is held, if a test fails


class Line:
    """The way to the server, and who went it."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.up.set()
        self.called: set[str] = set()
        self.called_in_the_loop: set[str] = set()
        self._loop = threading.get_ident()

    def go(self, name: str) -> None:
        self.called.add(name)
        if threading.get_ident() == self._loop:
            self.called_in_the_loop.add(name)
        self.up.wait(SECONDS_MAX)


class Far:
    """A store whose every call goes that way."""

    def __init__(self, store: Any, line: Line) -> None:
        self._store = store
        self._line = line

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name == "deliveries":
            return Far(found, self._line)

        def call(*arguments: Any, **named: Any) -> Any:
            self._line.go(name)
            return found(*arguments, **named)

        return call


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.up.set()


@pytest.fixture
def computer(tmp_path: Path, line: Line) -> Computer:
    """Whose wallets have a rate, since that is asked of the log; shard and actor have the store near."""
    computer = Computer(tmp_path, rate_per_wallet=1_000.0)
    (tmp_path / "lua-module.json").write_bytes(orjson.dumps({"id": MODULE}))
    computer.gateway = Gateway(
        dataclasses.replace(computer.settings, store="postgresql://far"),
        0,
        call=computer.call,
        reader=Far(open_readers(computer.settings), line),
        results=Far(computer.results, line),
        arweave=computer.arweave,
        sleep=computer.sleep,
    )
    return computer


async def test_whatever_is_asked_the_store_is_read_in_another_thread(
    computer: Computer, every: httpx.AsyncClient, line: Line
) -> None:
    spawn = {"Tags": [{"name": "Module", "value": MODULE}], "Data": ""}
    computer.evaluate = lambda entry: EMPTY | ({"Spawns": [spawn]} if entry.nonce == 1 else {})
    pid, another = await computer.spawn(), await computer.spawn()
    message = await computer.send(pid)
    await until(lambda: not len(computer.gateway.pusher))
    computer.gateway.pending_results.receipts.pop((pid, message))  # as if it had come in by another gateway
    for method, path in (
        ("GET", f"/result/{message}?process-id={pid}"),
        ("GET", f"/results/{pid}"),
        ("GET", f"/cron/{pid}"),
        ("POST", f"/dry-run?process-id={pid}"),
        ("GET", f"/state/{pid}"),
        ("GET", f"/monitor/{pid}"),
        ("GET", f"/outbox/{pid}"),
        ("GET", f"/trace/{message}?process-id={pid}"),
        ("GET", f"/processes/{pid}"),
        ("GET", f"/{pid}/latest"),
        ("GET", f"/{pid}?limit=5"),
        ("GET", f"/{message}?process-id={pid}"),
        ("POST", f"/?process-id={another}&assign={message}"),
        ("POST", f"/push/1/0?process-id={pid}"),
    ):
        response = await every.request(method, path, content=b"{}" if "dry-run" in path else b"")
        assert response.status_code in (200, 202), (path, response.text)
    assert {"at", "get", "of", "entry", "process", "entries", "latest", "find_message"} <= line.called
    assert not line.called_in_the_loop


async def test_while_the_server_is_silent_what_needs_no_look_goes_on(
    computer: Computer, every: httpx.AsyncClient, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = await computer.spawn()
    computer.gateway.admission.wallets.on = False  # else the log is asked at each message
    line.up.clear()
    stuck = asyncio.create_task(every.get(f"/result/{pid}?process-id={pid}"))
    await until(lambda: "at" in line.called)
    computer.held = []
    message = await computer.send(pid)
    computer.gateway.pending_results.deliver([(pid, message, b"{}")])
    assert (await every.get(f"/result/{message}?process-id={pid}")).content == b"{}"
    assert (await every.get("/metrics")).status_code == 200
    assert not stuck.done()
    monkeypatch.setattr(limits, "STORE_STATEMENT_SECONDS_MAX", 0.05)
    assert (await every.get(f"/{pid}/latest")).status_code == 503
    line.up.set()
    assert (await stuck).status_code == 200
