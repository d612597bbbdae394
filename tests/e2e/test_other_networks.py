"""What is for another network, whose gateway refuses it: it is attempted so often, then `dead`, and sent
by hand."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from polling import between_looks

from aoray.client import Client
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

WALLET = b64url_encode(b"w" * 32)
ATTEMPTS = 3
SECONDS_MAX = 60
PASSED_ON = ("content-type", "content-length")


class Elsewhere(ThreadingHTTPServer):
    """Another network's gateway: reads are those of a real Arweave, and it takes nothing while `refuses`."""

    daemon_threads = True

    def __init__(self, arweave: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.arweave = arweave
        self.refuses = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/graphql" and self.server.refuses:
            self._answer(402, b"no credits")
        else:
            self._pass_on(body)

    def _pass_on(self, body: bytes) -> None:
        kept = {name: value for name in PASSED_ON if (value := self.headers.get(name))}
        found = httpx.request(
            self.command, self.server.arweave + self.path, content=body, headers=kept, timeout=60
        )
        self._answer(found.status_code, found.content)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # of who has read enough
            super().handle()


@pytest.fixture
def elsewhere(computer: LocalComputer) -> Iterator[Elsewhere]:
    with Elsewhere(computer.unit(1)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def ended(client: Client, process: str) -> dict[str, Any]:
    """The one message of an outbox once it is no longer pending."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            found = (await client.outbox(process))["outbox"]
            if found and found[0]["state"] != "pending":
                return dict(found[0])
            await between_looks()


async def test_what_another_network_refuses_is_dead_after_so_many_attempts_and_sent_by_hand(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    environment = {
        "AORAY_GATEWAY_URL": elsewhere.url,
        "AORAY_PUSH_FOREIGN_ATTEMPTS_MAX": str(ATTEMPTS),
    }
    with LocalComputer(tmp_path / "data", environment=environment) as computer:
        async with Client(computer.url, generate_ed25519()) as client:
            process, other = await client.spawn(), await client.spawn()
            elsewhere.refuses = True
            code = f"Send({{Target = '{WALLET}', Action = 'Note'}})"
            message = await client.send(process, action="Eval", data=code)
            assert not (await client.result(process, message)).get("Error")
            dead = await ended(client, process)
            assert (dead["state"], dead["attempts"], dead["target"]) == ("dead", ATTEMPTS, WALLET)
            assert "no credits" in dead["error"]
            # Within the computer messages go on, and do not die of what is elsewhere.
            code = f"Send({{Target = '{other}', Action = 'Note'}})"
            sent = await client.send(other, action="Eval", data=code)
            assert not (await client.result(other, sent)).get("Error")
            assert (await ended(client, other))["state"] == "delivered"
            elsewhere.refuses = False
            command = [sys.executable, "-m", "aoray", "push", process, "1"]
            await asyncio.to_thread(
                subprocess.run, [*command, "--url", computer.url], check=True, capture_output=True, timeout=60
            )
            assert (await ended(client, process))["state"] == "uploaded"
    found = await asyncio.to_thread(httpx.get, f"{elsewhere.arweave}/tx/{dead['id']}")
    assert found.status_code in (200, 202)
