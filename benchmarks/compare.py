"""Two runs of a workload side by side: ratios row by row, and what else differs between them.

Rows are of the same thing when what was asked for is the same: their texts (module, state, …) and the numbers
in KEYS. All other numbers are measured, and have a ratio: this run divided by the peer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Column, Table

KEYS = frozenset(
    ("clients", "cores", "fan", "nodes", "own", "processes", "rate", "rounds", "senders", "shards", "size")
)  # asked for
Row = Mapping[str, Any]
Document = Mapping[str, Any]
WIDTH_OF_FILES = 400


def read(file: Path) -> Document:
    """What `--json` wrote."""
    found: Document = orjson.loads(file.read_bytes())
    return found


def measures(row: Row) -> dict[str, float]:
    """The columns that were measured, not asked for."""
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in KEYS
    }


def key_of(row: Row) -> tuple[tuple[str, Any], ...]:
    """What a row is of."""
    asked = {name: value for name, value in row.items() if isinstance(value, str) or name in KEYS}
    return tuple(sorted((name, value) for name, value in asked.items() if name != "restarted"))


def ratios(mine: Document, peer: Document) -> Iterator[tuple[Row, dict[str, float | None]]]:
    """For each of my rows that the peer has too: this run's figure divided by the peer's; None where that is
    0."""
    theirs = {key_of(row): measures(row) for row in peer["rows"]}
    for row in mine["rows"]:
        other = theirs.get(key_of(row))
        if other is not None:
            yield (
                row,
                {
                    name: round(value / other[name], 2) if other[name] else None
                    for name, value in measures(row).items()
                    if name in other
                },
            )


def differences(mine: Document, peer: Document) -> list[str]:
    """What is not the same in the two runs beside what they measured."""
    here, there = _told(mine), _told(peer)
    names = sorted(here.keys() | there.keys())
    return [
        f"{name}: {here.get(name)}, peer {there.get(name)}"
        for name in names
        if here.get(name) != there.get(name)
    ]


def _told(document: Document) -> dict[str, Any]:
    """What a run says of itself, flat."""
    told = {name: document.get(name) for name in ("benchmark", "commit", "seed")}
    for group in ("machine", "versions", "modules"):
        told |= {f"{group} {name}": value for name, value in (document.get(group) or {}).items()}
    return {name: value for name, value in told.items() if name != "machine load_average"}


def compare(mine: Document, peer: Document) -> None:
    """Print both."""
    console = Console() if Console().is_terminal else Console(width=WIDTH_OF_FILES)
    rows = list(ratios(mine, peer))
    names = list(dict.fromkeys(name for _, each in rows for name in each))
    keys = list(dict.fromkeys(name for row, _ in rows for name, _ in key_of(row)))
    table = Table(
        *(Column(name, justify="right", no_wrap=True) for name in [*keys, *names]),
        title=f"this run / peer of {peer.get('time')}",
    )
    for row, each in rows:
        table.add_row(
            *(str(row.get(name, "")) for name in keys),
            *("–" if each.get(name) is None else str(each[name]) for name in names),
        )
    console.print(table)
    console.print(f"{len(mine['rows']) - len(rows)} rows have no peer")
    for line in differences(mine, peer) or ["machine, commit and versions are the same"]:
        console.print(line)
