"""The examples do what they say, at small sizes, on a real computer."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import aoray
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    """The module of an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sweep_finds_where_the_chaos_begins(computer: LocalComputer, tmp_path: Path) -> None:
    found = example("sweep").sweep(computer.url, 12, steps=100)
    assert found[2.75] == 1
    assert found[3.25] == 2
    assert found[3.5] == 4
    assert found[3.875] > 50


def test_the_market_conserves_its_tokens(computer: LocalComputer) -> None:
    with aoray.connect(computer.url, wallet=aoray.new_wallet()) as ao:
        market = example("token_market").Market(ao, 6)
        made = market.trade(60)
        balances = market.balances()
    assert 0 < made <= 60
    assert sum(balances.values()) == 6 * 1000
    assert len(set(balances.values())) > 1 and min(balances.values()) >= 0


def test_a_glider_of_processes_glides(computer: LocalComputer) -> None:
    life = example("life")
    size = 5
    with aoray.connect(computer.url, wallet=aoray.new_wallet()) as ao:
        after = life.life(ao, life.glider(size), 4)
        with pytest.raises(ValueError, match="3 × 3"):
            life.life(ao, [[0, 1], [1, 0]], 1)
    before = life.glider(size)
    moved = [[before[row - 1][column - 1] for column in range(size)] for row in range(size)]
    assert after == moved
