"""Gives each fuzzer its share of the time, and what makes a hang a failure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import fuzzing
import pytest

UNIT = Path(__file__).parents[1] / "unit"
# What the rooms' own tests share (they are no packages).
sys.path += [str(UNIT / room) for room in ("gateway", "wasm", "scheduler", "arweave", "protocol")]
HANG_SECONDS = 400.0
"""Hypothesis takes up to 300 to make what failed small; cut off in that, it says only that it was cut off."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    fuzzing.SHARE["seconds"] = fuzzing.SECONDS / max(1, len(here))
    for item in here:
        item.add_marker(pytest.mark.timeout(fuzzing.SHARE["seconds"] + HANG_SECONDS))
