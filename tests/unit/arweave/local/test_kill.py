"""`kill -9` in the midst of uploads loses nothing that was acknowledged, and leaves a store that works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from arweave_items import item

from aoray.arweave.local.search import Filter, SearchPage
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ans104.items import parse, verify

UPLOADER = """
import sys
from pathlib import Path
from arweave_items import bundle, item
from aoray.arweave.local.store import ArweaveStore
store = ArweaveStore(Path(sys.argv[1]))
while True:
    inner = [item(("T", "x")) for _ in range(5)]
    outer = bundle(inner)
    store.put(outer)
    print(outer.id, *(each.id for each in inner), flush=True)
"""


def test_acknowledged_uploads_survive_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "arweave.sqlite"
    acknowledged: list[str] = []
    for _ in range(3):
        uploader = subprocess.Popen(
            [sys.executable, "-c", UPLOADER, path],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3] / "support",
        )
        assert uploader.stdout is not None
        for _ in range(10):
            acknowledged += uploader.stdout.readline().split()
        uploader.kill()
        acknowledged += [word for line in uploader.stdout if line.endswith("\n") for word in line.split()]
        uploader.wait()
    assert len(acknowledged) >= 3 * 10 * 6
    with ArweaveStore(path) as store:
        for item_id in acknowledged:
            found = parse(store.raw(store.get(item_id)))
            assert found.id == item_id
            verify(found)
        everything = store.find(Filter(), SearchPage(1000))
        assert len(everything) % 6 == 0
        assert len(everything) / 6 == store.tip().height - 1
        store.put(item())
