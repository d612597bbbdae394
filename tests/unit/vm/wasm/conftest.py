"""One engine for each way of keeping memory images; compiled modules are shared by all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_ways import WAYS

from aoray.vm.wasm import WasmEngine, pages


@pytest.fixture(scope="session")
def engine(compiled: Path) -> WasmEngine:
    """An engine as it is on this machine."""
    return WasmEngine(compiled)


@pytest.fixture(scope="session", params=WAYS)
def any_engine(request: pytest.FixtureRequest, compiled: Path) -> WasmEngine:
    """An engine with each way of keeping images in turn."""
    way = WAYS[request.param]
    if isinstance(way, pages.CopyOnWrite) and not pages.works(way):
        pytest.skip("not on this kernel")
    return WasmEngine(compiled, way)
