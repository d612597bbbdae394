"""Path manifests: items that map paths to other items, so that a site of several files has one address.

    {"manifest": "arweave/paths", "version": "0.2.0",
     "index": {"path": "index.html"},  or {"id": "…"}
     "fallback": {"id": "…"},                                    (for paths that are not listed)
     "paths": {"index.html": {"id": "…"}, "css/a.css": {"id": "…"}}}

A manifest is an item with the Content-Type `application/x.arweave-manifest+json`. `GET /{id}` gives its
index, `GET /{id}/{path}` the item for a path, and `GET /raw/{id}` the manifest itself. Versions are 0.1.0 and
0.2.0.

On failure: `NotFound` for an item that is not a manifest, a manifest that can't be read (too large, not JSON,
another version), and a path that it does not list.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from aoray import limits
from aoray.arweave.local.rows import Stored
from aoray.arweave.local.store import ArweaveStore
from aoray.errors import NotFound
from aoray.protocol.ans104.items import DataItem
from aoray.protocol.ids import is_id
from aoray.protocol.tags import first
from aoray.util.bounded_dict import BoundedDict

TYPE = "application/x.arweave-manifest+json"
VERSIONS = ("0.1.0", "0.2.0")


class Manifest(NamedTuple):
    """The ids to which the paths of a manifest lead; '' is the path of the index, None that of the
    fallback."""

    ids: Mapping[str | None, str]
    size: int


def is_manifest(item: DataItem) -> bool:
    """Return whether the tags of an item say that it is a path manifest."""
    return first(item.tags, "Content-Type", "").partition(";")[0].strip().lower() == TYPE


def read(data: bytes) -> Manifest:
    """Read the bytes of a manifest, leaving out entries without an id. Raises `NotFound` if they are not a
    manifest."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NotFound(f"the manifest is not JSON: {error}") from error
    paths = found.get("paths") if isinstance(found, dict) else None
    if not isinstance(paths, dict) or found.get("manifest") != "arweave/paths":
        raise NotFound('the manifest is not {"manifest": "arweave/paths", "paths": {…}}')
    if found.get("version") not in VERSIONS:
        raise NotFound(f"the manifest is of version {str(found.get('version'))[:20]!r}, not {VERSIONS}")
    if len(paths) > limits.MANIFEST_PATHS_MAX:
        raise NotFound(f"the manifest has over {limits.MANIFEST_PATHS_MAX} paths")
    ids: dict[str | None, str] = {path: own for path, entry in paths.items() if (own := _id(entry))}
    index = found.get("index")
    named = index.get("path") if isinstance(index, dict) else None
    first_page = _id(index) or (ids.get(named) if isinstance(named, str) else None)
    special = {"": first_page, None: _id(found.get("fallback"))}
    return Manifest(ids | {place: own for place, own in special.items() if own}, len(data))


def _id(entry: Any) -> str:
    own = entry.get("id") if isinstance(entry, dict) else None
    return own if isinstance(own, str) and is_id(own) else ""


class Manifests:
    """The manifests of a store, with a cache of parsed ones. It may be used from any thread."""

    def __init__(self, store: ArweaveStore) -> None:
        self._store = store
        self._noting = threading.Lock()
        self._known: BoundedDict[str, Manifest] = BoundedDict(
            limits.MANIFESTS_KNOWN_MAX, limits.MANIFESTS_KNOWN_BYTES_MAX, lambda each: each.size
        )

    def resolve(self, stored: Stored, path: str) -> str:
        """Return the id that a manifest has for a path ('' is the index). Raises `NotFound`."""
        manifest = self._known.get(stored.id) or self._read(stored)
        ids = manifest.ids
        for place in (path, path.rstrip("/"), None):
            if place in ids:
                return ids[place]
        raise NotFound(f"the manifest has no path {path[:200]!r}", id=stored.id)

    def _read(self, stored: Stored) -> Manifest:
        if not is_manifest(self._store.header(stored)):
            raise NotFound("the item is not a path manifest: there is nothing below it", id=stored.id)
        if stored.data_size > limits.MANIFEST_BYTES_MAX:
            raise NotFound(f"a manifest has {limits.MANIFEST_BYTES_MAX} bytes at most", id=stored.id)
        manifest = read(self._store.data(stored))
        with self._noting:
            self._known[stored.id] = manifest
        return manifest
