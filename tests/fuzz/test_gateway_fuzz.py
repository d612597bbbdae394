"""Whatever is asked, the answer is JSON and no 500, and there is one (guarantee G7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import APIRouter
from gatewaying import MODULE, Computer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aoray.gateway import apps

PATHS = (
    *("", "{}", "{}/latest", "result/{}", "results/{}", "cron/{}", "state/{}", "dry-run", "monitor/{}"),
    *("push/{}/{}", "processes/{}", "timestamp", "health", "outbox/{}", "trace/{}"),
)
NAMES = (
    *("process-id", "assign", "exclude", "from", "to", "limit", "sort", "from-nonce", "to-nonce"),
    *("nonce", "state", "after"),
)
UNITS: list[Callable[..., Any]] = [
    lambda gateway: apps.all_units(gateway, APIRouter()),
    apps.messenger_unit,
    apps.scheduler_unit,
    apps.compute_unit,
]


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_any_request_is_answered_in_json(computer: Computer, loop: asyncio.Runner) -> None:
    process = loop.run(computer.spawn())
    message = loop.run(computer.send(process))
    item = computer.message_item(process).raw
    served = [unit(computer.gateway) for unit in UNITS]
    known = [process, message, MODULE, "", "0", "-1", "9" * 20, "1.5", "undefined", "DESC", "é", "\0", "٣"]
    texts = st.sampled_from(known) | st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
    damaged = st.builds(
        lambda at, byte: item[:at] + bytes([byte]) + item[at + 1 :],
        st.integers(0, len(item) - 1),
        st.integers(0, 255),
    )
    bodies = st.sampled_from([b"", item, b"{}", b"[]", b'{"Tags":1}', b"\xff"]) | damaged | st.binary()

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(served),
        st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD"]),
        st.sampled_from(PATHS),
        st.tuples(texts, texts),
        st.dictionaries(st.sampled_from(NAMES), texts, max_size=4),
        bodies,
    )
    def ask(
        app: Any, method: str, path: str, ids: tuple[str, str], query: dict[str, str], body: bytes
    ) -> None:
        url = "http://ao/" + path.format(*(quote(id, safe="") for id in ids))

        async def answered() -> None:
            async with computer.http(app) as client:
                response = await client.request(method, url, params=query | {"wait": "0"}, content=body)
            assert response.status_code < 500, response.text
            if response.status_code >= 400 and method != "HEAD":
                assert isinstance(response.json()["error"], str)

        loop.run(answered())

    ask()
