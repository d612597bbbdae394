"""A disk that is really full: a small tmpfs that something else fills."""

from __future__ import annotations

import asyncio
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aoray.client import Client
from aoray.protocol.ans104.items import build
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SIZE = "96m"
ACTION = (
    Tag("Data-Protocol", "ao"),
    Tag("Variant", "ao.TN.1"),
    Tag("Type", "Message"),
    Tag("Action", "Eval"),
)
COUNT = b"Count = (Count or 0) + 1 return tostring(Count)" + b" " * 8_000  # so that the log needs room
FULL_AFTER_MAX = 500  # messages, which the log's files have room for


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "aoray-test", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.fail("a small disk is needed, and mount (as root) gives none")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(file: Path) -> None:
    """Take all the room that is left on a disk."""
    with file.open("ab", buffering=0) as written:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    written.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC


async def healthy(http: httpx.AsyncClient, status: int) -> None:
    async with asyncio.timeout(60):
        while (await http.get("/health")).status_code != status:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_full_disk_refuses_and_what_was_acknowledged_is_counted_once(small: Path) -> None:
    computer, signer = LocalComputer(small / "data"), generate_ed25519()
    filler = small / "filler"
    acknowledged: list[str] = []
    with computer:
        async with (
            Client(computer.url, signer) as client,
            httpx.AsyncClient(base_url=computer.url, timeout=90) as http,
        ):
            process = await client.spawn()

            async def post(number: int) -> int:
                item = build(signer, target=process, tags=[*ACTION, Tag("Number", str(number))], data=COUNT)
                answer = await http.post("/", content=item.raw)
                if answer.status_code == 202:
                    acknowledged.append(item.id)
                else:
                    assert "error" in answer.json()
                return answer.status_code

            assert await post(0) == 202
            fill(filler)
            statuses = []
            for number in range(1, FULL_AFTER_MAX):
                statuses.append(await post(number))
                if statuses[-1] != 202:
                    break
            assert statuses[-1] == 503
            await healthy(http, 503)
            computer.kill()  # and with what it holds in memory gone, on the disk that is full
            filler.unlink()
            computer.start()
            await healthy(http, 200)
            after = await post(FULL_AFTER_MAX)
            assert after == 202
        async with Client(computer.url, signer) as client:
            said = [(await client.result(process, each))["Output"]["data"] for each in acknowledged]
            counts = [int(count) for count in said]
            assert counts == sorted(set(counts))  # each once, and in order
            # What was refused may have been written (its answer says to send it again), and that alone.
            assert counts[-1] in (len(acknowledged), len(acknowledged) + 1)
