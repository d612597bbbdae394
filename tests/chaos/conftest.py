"""What the power cut tests share: the recorder, compiled once, and a directory whose disk it is."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from recorded_disk import compiled_recorder

MEMORY = Path("/dev/shm")  # the many states that are looked at need no disk


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared library that records."""
    return compiled_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory whose disk it is, and that is on it."""
    root = tmp_path.resolve() / "data"
    root.mkdir()
    return root


@pytest.fixture
def states_in(tmp_path: Path) -> Iterator[Path]:
    """Where states of the disk are made."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture
def source(capsys: pytest.CaptureFixture[str]) -> random.Random:
    """Which moments, and what is left of what was not synced: from a seed that is printed."""
    seed = int(os.environ.get("POWER_CUT_SEED", random.SystemRandom().randrange(1_000_000)))
    print(f"POWER_CUT_SEED={seed}")
    return random.Random(seed)
