"""Nothing is lost, nothing happens twice (guarantees G1–G5), whatever goes wrong: 200 simulated computers.

`AORAY_SEED=7` runs that seed alone, `AORAY_SEEDS=2000` the first 2000; `make soak` goes on until it is
stopped.
"""

from __future__ import annotations

import os

import pytest
from sim_checks import report, run

SEED = os.environ.get("AORAY_SEED")
SEEDS = [int(SEED)] if SEED else range(int(os.environ.get("AORAY_SEEDS", "200")))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_and_nothing_happens_twice(seed: int) -> None:
    found = run(seed)
    assert not found, report(seed, found)
