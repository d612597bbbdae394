"""Gives each fuzzer its share of the time, and what makes a hang a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import fuzz_strategies
import pytest

HANG_SECONDS = 400.0
"""Hypothesis takes up to 300 to make what failed small; cut off in that, it says only that it was cut off."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    fuzz_strategies.SHARE["seconds"] = fuzz_strategies.SECONDS / max(1, len(here))
    for item in here:
        item.add_marker(pytest.mark.timeout(fuzz_strategies.SHARE["seconds"] + HANG_SECONDS))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running
