"""A workload's report: rows as a table for people, and as JSON with all that is needed to compare it with
another. Of several runs a row has the median of what was measured, and its spread."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from rich.console import Console
from rich.table import Column, Table

from benchmarks.compare import WIDTH_OF_FILES, measures

ROOT = Path(__file__).parents[1]
PACKAGES = ("aoray", "ray", "wasmtime", "fastapi", "uvicorn", "uvloop", "httptools", "cryptography")


@dataclass(frozen=True)
class Report:
    """Rows of one benchmark; they share their columns."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    def print(self) -> None:
        """The rows as a table on standard output."""
        named = dict.fromkeys(name for row in self.rows for name in row)
        names = [name for name in named if not any(isinstance(row.get(name), Mapping) for row in self.rows)]
        columns = [Column(name, justify="right", no_wrap=True) for name in names]
        table = Table(*columns, title=f"{self.name}: {self.description}")
        for row in self.rows:
            table.add_row(*(_cell(row, name) for name in names))
        console = Console() if Console().is_terminal else Console(width=WIDTH_OF_FILES)
        console.print(table)
        for row in self.rows:
            if "server_us" not in row:
                continue
            parts = ", ".join(f"{part} {us}" for part, us in row["server_us"].items())
            console.print(
                f"{row[names[0]]}, {names[1]} {row[names[1]]}: µs of CPU a message: {parts or 'unknown'}"
            )
        console.print(f"{machine()['cpu']}, {os.cpu_count()} cores; commit {commit()}")

    def document(self) -> dict[str, Any]:
        """Everything, as it is written down."""
        parameters = dict(self.parameters)
        return {
            "benchmark": self.name,
            "description": self.description,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "commit": commit(),
            "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
            "seed": parameters.get("seed"),
            "modules": parameters.pop("module_sha256", {}),
            "parameters": parameters,
            "rows": self.rows,
        }

    def json(self) -> str:
        """The document as JSON."""
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        return orjson.dumps(self.document(), default=str, option=options).decode()


def merged(reports: Sequence[Report]) -> Report:
    """Several runs of one workload as one: medians, and in `spread` the least and the most of each column."""
    first = reports[0]
    if len(reports) == 1:
        return first
    rows = [_median(rows) for rows in zip(*(report.rows for report in reports), strict=True)]
    return replace(first, rows=rows)


def _median(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged = dict(rows[0])
    merged["spread"] = spread = {}
    for name in measures(rows[0]):
        values = [row[name] for row in rows if row.get(name) is not None]
        merged[name] = round(median(values), 2)
        spread[name] = [min(values), max(values)]
    restarted = sorted({row.get("restarted") or "" for row in rows} - {""})
    return merged | ({"restarted": ", ".join(restarted)} if "restarted" in merged else {})


def _cell(row: Mapping[str, Any], name: str) -> str:
    """A figure as people read it; with its spread where there are several runs."""
    value = row.get(name)
    if value is None:
        return "–"
    least, most = row.get("spread", {}).get(name, (value, value))
    return str(value) if least == most else f"{value} ({least}–{most})"


def machine() -> dict[str, Any]:
    """What it ran on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.platform(),
        "load_average": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str:
    """The commit that is checked out; marked when there are changes."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"
