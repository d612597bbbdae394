"""One small Ray cluster for all tests of this folder; it ends even when a test fails."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Ray on this machine, in a directory of its own with a short name: Unix sockets go there."""
    directory = tempfile.mkdtemp(prefix="aoray-test-")
    ray.init(
        include_dashboard=False,
        num_cpus=2,
        object_store_memory=80 * 1024 * 1024,
        _temp_dir=directory,
        namespace="aoray",
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": str(SUPPORT)}},  # where tests' own actors are
    )
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)
