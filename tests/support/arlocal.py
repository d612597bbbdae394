"""An Arweave node that others wrote (npm `arlocal`), for tests: started, killed, made to mine; and what is in
its chain."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from aoray.testing.local_computer import free_ports

NODE = Path(__file__).parents[1] / "js_clients"
BUNDLES = """query ($owner: String!, $after: String) {
  transactions(owners: [$owner], first: 100, after: $after,
               tags: [{name: "Bundle-Format", values: ["binary"]}]) {
    pageInfo { hasNextPage } edges { cursor node { id block { height } } }
  }
}"""


class ArLocal:
    """One node, on a port of its own for good."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._chains = 0
        self._process: subprocess.Popen[str] | None = None
        self._port = free_ports()
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self, *, empty: bool = False) -> Self:
        """Run it on the chain that it had, or on a new one."""
        self._chains += empty
        folder = self._folder / str(self._chains)
        folder.mkdir(parents=True, exist_ok=True)
        command = ["node", str(NODE / "arlocal.mjs"), str(self._port), str(folder)]
        self._process = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout and self._process.stdout.readline() == "ready\n"
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30).raise_for_status()

    def mint(self, address: str) -> None:
        """Give a wallet 1 AR."""
        self.get(f"/mint/{address}/{10**12}")

    def mine(self, blocks: int = 1) -> None:
        self.get(f"/mine/{blocks}")

    def bundles(self, owner: str, known: Sequence[str]) -> list[bytes]:
        """The bundles that a wallet has in the chain: those that it lists, and those that are `known`.

        It does not list one by its tags that was mined while it was still being posted.
        """
        found: list[Any] = []
        more = True
        while more:
            variables = {"owner": owner, "after": found[-1]["cursor"] if found else None}
            body = {"query": BUNDLES, "variables": variables}
            page = httpx.post(f"{self.url}/graphql", json=body, timeout=30).json()["data"]["transactions"]
            found += page["edges"]
            more = page["pageInfo"]["hasNextPage"] and bool(page["edges"])
        # After a restart it lists some of them twice.
        mined = dict.fromkeys(edge["node"]["id"] for edge in found if edge["node"]["block"])
        for each in known:
            assert self.get(f"/tx/{each}/status").json()["block_height"] > 0
        return [self.get(f"/{each}").content for each in mined | dict.fromkeys(known)]
