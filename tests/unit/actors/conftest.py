"""A house for each test; the guest is compiled once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from evaluating import House


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
async def house(tmp_path: Path, compiled: Path) -> AsyncIterator[House]:
    opened = House(tmp_path, compiled)
    yield opened
    await opened.close()
