"""A fresh computer without Ray for each test, and clients of its applications."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
from fake_arweave import MODULE
from fake_computer import Computer
from fastapi import APIRouter
from legacy_units import scheduler_unit

from aoray.gateway import apps


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    (tmp_path / "lua-module.json").write_bytes(orjson.dumps({"id": MODULE}))
    return Computer(tmp_path)


@pytest.fixture
async def every(computer: Computer) -> AsyncIterator[httpx.AsyncClient]:
    """The origin where all units answer."""
    async with computer.http(apps.all_units(computer.gateway, APIRouter())) as client:
        yield client


@pytest.fixture
async def scheduler(computer: Computer) -> AsyncIterator[httpx.AsyncClient]:
    async with computer.http(scheduler_unit(computer.gateway)) as client:
        yield client
