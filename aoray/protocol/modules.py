"""The description of a module that its processes see, and the tags of a module item."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from aoray.protocol.tags import Tag, Tags


class ModuleInfo(NamedTuple):
    """What a process can learn about its module: id, owner (an address), and tags."""

    id: str
    owner: str
    tags: Tags


def module_tags(
    module_format: str, tags: Iterable[Tag] = (), content_type: str = "application/wasm"
) -> list[Tag]:
    """Return the tags of a module item (docs/wire-contract.md §3.10)."""
    return [
        Tag("Data-Protocol", "ao"),
        Tag("Variant", "ao.TN.1"),
        Tag("Type", "Module"),
        Tag("Module-Format", module_format),
        Tag("Input-Encoding", "JSON-1"),
        Tag("Output-Encoding", "JSON-1"),
        Tag("Content-Type", content_type),
        *tags,
    ]
