"""A house for each test; the guest is compiled once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from actor_rig import House


@pytest.fixture
async def house(tmp_path: Path, compiled: Path) -> AsyncIterator[House]:
    opened = House(tmp_path, compiled)
    yield opened
    await opened.close()
