"""An embedded Arweave where one wallet alone has anything."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from layer1 import RICH

from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.web.application import application


@pytest.fixture
async def http(store: ArweaveStore) -> AsyncIterator[httpx.AsyncClient]:
    """An Arweave with a genesis file: only RICH has anything."""
    app = application("Arweave")
    app.include_router(router(store, balances={RICH.address: 1000}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://arweave") as opened:
        yield opened
