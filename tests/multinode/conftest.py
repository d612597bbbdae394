"""One cluster of at least three nodes for the tests here; each test finds it whole, and hurts it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres_server import PostgresServer
from raylets import Raylets
from spread_computer import SpreadComputer


@pytest.fixture(scope="module")
def computer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpreadComputer]:
    """`aoray up` on a cluster with PostgreSQL and Redis behind it."""
    root = tmp_path_factory.mktemp("nodes")
    with PostgresServer() as postgres, Raylets(root) as raylets, SpreadComputer(raylets, postgres) as running:
        yield running
