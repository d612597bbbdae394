"""The engine (`vm/engines.py`) to which a process is bound: the tag `Engine` of its spawn item and of its
assignment. Pure.

On failure: `MalformedInput` for a tag that does not name a version.
"""

from __future__ import annotations

from aoray.errors import MalformedInput
from aoray.protocol.tags import Tags, all_of, ao_tag
from aoray.vm.engines import BEFORE_VERSIONS, ENGINES, NEWEST

TAG = "Engine"
DIGITS_MAX = 4


def engine_asked(spawn: Tags) -> int:
    """Return the version of the engine for a new process: the one that its spawn item asks for, or the
    newest."""
    named = ao_tag(spawn, TAG)
    if named is None:
        return NEWEST
    version = version_of(named)
    if version is None or version not in ENGINES or not ENGINES[version].for_new:
        known = ", ".join(str(engine.version) for engine in ENGINES.values() if engine.for_new)
        raise MalformedInput(
            f"no engine {named[:20]!r} for new processes",
            field=f"tags.{TAG}",
            hint=f"Engines for new processes: {known}. Without the tag a process gets {NEWEST}.",
        )
    return version


def engine_named(assignment: Tags) -> int:
    """Return the version of the engine to which the assignment of nonce 0, with these tags, binds its
    process."""
    named = all_of(assignment, TAG)
    version = version_of(named[0]) if named else BEFORE_VERSIONS
    if len(named) > 1 or version is None:
        raise MalformedInput(f"the tag {TAG} is not the version of an engine", field=f"tags.{TAG}")
    return version


def version_of(text: str) -> int | None:
    """Return the version in the value of a tag; None if it is not a number."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX else None
