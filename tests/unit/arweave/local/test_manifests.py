"""Path manifests lead to the items that they name; what is none, or has no such path, is 404 in words."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from arweave_items import item

from aoray import limits
from aoray.arweave.local.manifests import TYPE
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ans104.items import DataItem

PAGES = {name: item(("Content-Type", "text/html"), data=name.encode()) for name in ("index", "css", "lost")}
PATHS = {"index.html": {"id": PAGES["index"].id}, "css/a b.css": {"id": PAGES["css"].id}, "bad": {"id": "x"}}


def manifest(store: ArweaveStore, content: Any = None, **changed: Any) -> DataItem:
    """A manifest, with the pages that it names."""
    plain = {"manifest": "arweave/paths", "version": "0.2.0", "index": {"path": "index.html"}, "paths": PATHS}
    data = json.dumps(plain | changed if content is None else content).encode()
    made = item(("Content-Type", TYPE), data=data)
    for each in (made, *PAGES.values()):
        store.put(each)
    return made


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
async def test_paths_lead_to_items_and_the_id_alone_to_the_index(
    http: httpx.AsyncClient, store: ArweaveStore, version: str
) -> None:
    own = manifest(store, version=version)
    for path in (f"/{own.id}", f"/{own.id}/", f"/{own.id}/index.html"):
        answer = await http.get(path)
        assert (answer.status_code, answer.text) == (200, "index")
        assert answer.headers["content-type"] == "text/html"
        assert (await http.head(path)).status_code == 200
    assert (await http.get(f"/{own.id}/css/a%20b.css")).text == "css"
    assert (await http.get(f"/{own.id}/css/a b.css", headers={"range": "bytes=1-1"})).text == "s"
    assert (await http.get(f"/raw/{own.id}")).content == own.data
    for missing in ("nothing", "bad", "css", "../index.html/x"):
        answer = await http.get(f"/{own.id}/{missing}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_version_2_has_a_fallback_and_an_index_by_id(
    http: httpx.AsyncClient, store: ArweaveStore
) -> None:
    own = manifest(store, fallback={"id": PAGES["lost"].id}, index={"id": PAGES["css"].id})
    assert (await http.get(f"/{own.id}")).text == "css"
    assert (await http.get(f"/{own.id}/nothing/here")).text == "lost"
    assert (await http.get(f"/{own.id}/index.html")).text == "index"


async def test_without_an_index_the_id_gives_the_manifest_itself(
    http: httpx.AsyncClient, store: ArweaveStore
) -> None:
    own = manifest(store, index=None)
    assert (await http.get(f"/{own.id}")).content == own.data


BAD: dict[str, Any] = {
    "another version": {"manifest": "arweave/paths", "version": "9", "paths": {}},
    "another kind": {"manifest": "x", "version": "0.1.0", "paths": {}},
    "paths that are a list": {"manifest": "arweave/paths", "version": "0.1.0", "paths": []},
    "a list": [1],
    "too many paths": {
        "manifest": "arweave/paths",
        "version": "0.1.0",
        "paths": {str(n): {} for n in range(9)},
    },
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_manifest_is_shown_and_leads_nowhere(
    http: httpx.AsyncClient, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(limits, "MANIFEST_PATHS_MAX", 8)
    own = manifest(store, BAD[name])
    assert (await http.get(f"/{own.id}")).content == own.data
    assert (await http.get(f"/{own.id}/index.html")).status_code == 404


async def test_a_manifest_over_the_bound_and_what_is_not_a_manifest_lead_nowhere(
    http: httpx.AsyncClient, store: ArweaveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MANIFEST_BYTES_MAX", 100)
    own = manifest(store)
    for path in (f"/{own.id}/index.html", f"/{PAGES['css'].id}/index.html", f"/{'A' * 43}/x"):
        assert (await http.get(path)).status_code == 404


async def test_an_answer_has_no_more_lines_of_headers_than_pythons_client_takes(
    http: httpx.AsyncClient, store: ArweaveStore
) -> None:
    sent = item(*((f"Name-{n}", "v") for n in range(128)))
    store.put(sent)
    for path in (f"/{sent.id}", f"/raw/{sent.id}"):
        answer = await http.get(path, headers={"range": "bytes=0-1"})
        assert 60 < len(answer.headers.raw) <= 88  # and two of the door's and the server's
