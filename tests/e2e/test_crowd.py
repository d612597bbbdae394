"""One computer and many strangers: what one address asks for, does not read or waits for is bounded, and
other addresses, and `/health`, are served meanwhile. (The loopback network has many: 127.0.0.2 and on.)"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from metrics_text import figures
from polling import wait_until

from aoray import limits
from aoray.client import Client
from aoray.protocol.ans104.bundles import BUNDLE_TAGS, pack
from aoray.protocol.ans104.items import build
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer, memory_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

STRANGER, NEIGHBOUR = "127.0.0.2", "127.0.0.3"
SIGNER = generate_ed25519()
WAITS = 2 * limits.RESULT_WAITS_MAX
WAIT_SECONDS = 2
LARGE = 24 * limits.MIB


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalComputer]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with LocalComputer(tmp_path_factory.mktemp("crowd") / "data") as computer:
        yield computer
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def opened(computer: LocalComputer, path: str, address: str) -> asyncio.StreamWriter:
    """A connection from an address that has asked for something and reads nothing yet."""
    with contextlib.suppress(ConnectionResetError):
        _, writer = await asyncio.open_connection("127.0.0.1", computer.port, local_addr=(address, 0))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        return writer
    raise AssertionError("a connection was reset")


def neighbour(computer: LocalComputer) -> httpx.Client:
    """Somebody else."""
    return httpx.Client(
        base_url=computer.url, transport=httpx.HTTPTransport(local_address=NEIGHBOUR), timeout=30
    )


def metric(computer: LocalComputer, name: str) -> float:
    return figures(httpx.get(f"{computer.url}/metrics").text)[f"aoray_gateway_{name}"]


@contextlib.asynccontextmanager
async def spawned(computer: LocalComputer) -> AsyncIterator[str]:
    async with Client(computer.url, SIGNER) as client:
        yield await client.spawn()


async def test_ten_thousand_waits_of_one_address_cost_the_others_nothing(crowded: LocalComputer) -> None:
    async with spawned(crowded) as process:
        path = f"/result/900?process-id={process}"
        lines: list[asyncio.StreamWriter] = []
        for _ in range(WAITS // 500):
            lines += await asyncio.gather(*(opened(crowded, path, STRANGER) for _ in range(500)))
        with neighbour(crowded) as other:
            assert (await asyncio.to_thread(other.get, "/health")).status_code == 200
            found = await asyncio.to_thread(other.get, f"/result/{process}?process-id={process}")
            assert found.status_code == 200
            begun = time.monotonic()
            waited = await asyncio.to_thread(other.get, f"{path}&wait={1000 * WAIT_SECONDS}")
            assert waited.status_code == 202
            assert time.monotonic() - begun >= WAIT_SECONDS  # it has a place, and is not sent away at once
        async with Client(crowded.url, SIGNER) as client:
            begun = time.monotonic()
            message = await client.send(process, action="Eval", data="return 6 * 7")
            assert (await client.result(process, message))["Output"]["data"] == "42"
            assert time.monotonic() - begun < 20
        for line in lines:
            line.close()
    assert metric(crowded, "waits_cut_total") > 0


def test_answers_that_are_not_read_are_not_held(crowded: LocalComputer) -> None:
    item = build(SIGNER, tags=[Tag("N", "large")], data=os.urandom(LARGE))
    assert httpx.post(f"{crowded.unit(1)}/tx", content=item.raw, timeout=60).status_code == 200
    [gateway] = crowded.actors("Gateway")
    before = memory_of(gateway)
    lines = []
    for path in (f"/tx/{item.id}/item", f"/tx/{item.id}/data", f"/{item.id}", f"/raw/{item.id}") * 5:
        line = socket.create_connection(("127.0.0.1", crowded.port), source_address=(STRANGER, 0))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        lines.append(line)
    with neighbour(crowded) as other:
        assert len(other.get(f"/tx/{item.id}/item").content) == len(item.raw)
        assert other.get(f"/tx/{item.id}/data").text.rstrip() == item_data(item.data)
    assert memory_of(gateway) - before < 2 * LARGE
    wait_until(
        lambda: metric(crowded, "answers_stalled_total") >= len(lines),
        lambda: "who does not read is not cut off",
        4 * limits.ANSWER_STALL_SECONDS,
    )
    for line in lines:
        line.close()


def item_data(data: bytes) -> str:
    from aoray.protocol.ids import b64url_encode

    return b64url_encode(data)


def test_a_page_that_is_not_read_waits_on_disk(crowded: LocalComputer) -> None:
    async def grown() -> str:
        async with Client(crowded.url, SIGNER) as client:
            process = await client.spawn()
            for _ in range(4):
                sent = await client.send(process, action="Eval", data="return string.rep('x', 2000000)")
                await client.result(process, sent)
            return process

    process = asyncio.run(grown())
    line = socket.create_connection(("127.0.0.1", crowded.port), source_address=(STRANGER, 0))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.sendall(f"GET /results/{process}?limit=100 HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    wait_until(lambda: metric(crowded, "answer_bytes_spooled") >= 8_000_000)
    page = httpx.get(f"{crowded.url}/results/{process}?limit=100", timeout=60)
    assert len(page.json()["edges"]) == 5
    line.close()
    wait_until(lambda: not metric(crowded, "answer_bytes_spooled"))


def test_reads_have_a_rate_that_results_do_not_pay(crowded: LocalComputer) -> None:
    with httpx.Client(
        base_url=crowded.url, transport=httpx.HTTPTransport(local_address=STRANGER), timeout=30
    ) as stranger:
        statuses: dict[int, httpx.Response] = {}
        for _ in range(150):  # each costs 100 of the 10,000 that come at once
            answer = stranger.get(f"/state/{'A' * 43}")
            statuses[answer.status_code] = answer
        assert set(statuses) == {404, 429}
        assert (
            int(statuses[429].headers["retry-after"]) >= 1 and statuses[429].json()["code"] == "rate_limited"
        )
        assert stranger.get(f"/result/{'A' * 43}?process-id={'A' * 43}").status_code == 404
    with neighbour(crowded) as other:
        assert other.get(f"/state/{'A' * 43}").status_code == 404
    assert metric(crowded, "refused_reads_total") > 0


def test_a_search_costs_no_more_however_often_it_is_asked_for_and_uploads_go_on(
    crowded: LocalComputer,
) -> None:
    items = [build(SIGNER, tags=[Tag("K", "v"), Tag("N", str(n))], data=b"x") for n in range(5_000)]
    outer = build(SIGNER, tags=BUNDLE_TAGS, data=pack(items))
    assert httpx.post(f"{crowded.unit(1)}/tx", content=outer.raw, timeout=120).status_code == 200
    broad = ", ".join(json.dumps(f"v{n}") for n in range(300))
    tags = f'tags: [{{name: "K", values: ["v"]}}, {{name: "K", values: [{broad}], op: NEQ}}]'

    def ask(fields: str, **more: Any) -> tuple[float, httpx.Response]:
        begun = time.monotonic()
        body = {"query": f"{{ {fields} }}"}
        answer = httpx.post(f"{crowded.url}/graphql", json=body, timeout=120, **more)
        return time.monotonic() - begun, answer

    one, answer = ask(f"transactions(first: 0, {tags}) {{ count }}")
    assert answer.json()["data"]["transactions"]["count"] == "5000"
    many, answer = ask(
        f"transactions(first: 0, {tags}) {{ " + " ".join(f"c{n}: count" for n in range(19)) + " }"
    )
    assert answer.status_code == 200 and many < 5 * one + 1
    _, answer = ask(" ".join(f"t{n}: transactions(first: 0) {{ count }}" for n in range(280)))
    assert answer.status_code == 400
    text = "{ transactions(first: 1) { edges { node { id } } } }"
    answer = httpx.post(
        f"{crowded.url}/graphql", content=text, headers={"content-type": "application/graphql"}
    )
    assert answer.json()["data"]["transactions"]["edges"]


def test_what_pages_of_explorers_ask_is_answered(crowded: LocalComputer) -> None:
    pool = """query ($pool: String!) { transactions(first: 100, sort: INGESTED_AT_DESC,
        tags: [{ name: "Burned" }, { name: "From-Process", values: [$pool] }]) { edges { node { id } } } }"""
    who = """query ($who: [String!]) { transactions(first: 10, tags: [{ name: "Action", values: ["Order"] },
        { name: "Relay-To", values: $who }]) { count edges { cursor node { id } } } }"""
    for query, variables in ((pool, {"pool": "A" * 43}), (who, {"who": None}), (who, {})):
        answer = httpx.post(f"{crowded.url}/graphql", json={"query": query, "variables": variables})
        assert answer.status_code == 200 and "errors" not in answer.json(), answer.text


def test_browsers_may_read_every_header(crowded: LocalComputer) -> None:
    for path in ("/health", f"/result/{'A' * 43}?process-id={'A' * 43}", "/nowhere", "/info"):
        headers = httpx.get(crowded.url + path).headers
        assert headers["access-control-expose-headers"] == "*" == headers["access-control-allow-origin"]


def test_few_descriptors_are_said_and_reset_nobody(crowded: LocalComputer) -> None:
    [gateway] = crowded.actors("Gateway")
    used = max(int(entry.name) for entry in Path(f"/proc/{gateway}/fd").iterdir())
    before = resource.prlimit(gateway, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway, resource.RLIMIT_NOFILE, (2 * used, before[1]))
    try:
        statuses, lines = list[int](), list[socket.socket]()
        for _ in range(2 * used):
            line = socket.create_connection(("127.0.0.1", crowded.port), timeout=30)
            line.sendall(b"GET /timestamp HTTP/1.1\r\nhost: x\r\n\r\n")
            statuses.append(int(line.recv(12)[-3:]))
            lines.append(line)
            if statuses[-5:] == [503] * 5:
                break
        assert set(statuses) == {200, 503}
        assert httpx.get(f"{crowded.url}/health").status_code == 200
        for line in lines:
            line.close()
    finally:
        resource.prlimit(gateway, resource.RLIMIT_NOFILE, before)
    assert orjson.loads(httpx.get(f"{crowded.url}/health").content)["status"] == "ok"
