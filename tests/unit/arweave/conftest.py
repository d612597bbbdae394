from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from clock import TODAY, Clock

from aoray.arweave.local.graphql import Graph
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.web.application import application


@pytest.fixture
def clock() -> Clock:
    return Clock(TODAY)


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[ArweaveStore]:
    with ArweaveStore(tmp_path / "arweave.sqlite", clock=clock) as opened:
        yield opened


@pytest.fixture
def graph(store: ArweaveStore) -> Graph:
    return Graph(store)


@pytest.fixture
def transport(store: ArweaveStore) -> httpx.ASGITransport:
    app = application("Arweave")
    app.include_router(router(store))
    return httpx.ASGITransport(app)


@pytest.fixture
async def http(transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=transport, base_url="http://arweave") as opened:
        yield opened
