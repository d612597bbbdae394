"""A benchmark's report: rows as a table for people, and as JSON with all that is needed to compare it with
another."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Column, Table

ROOT = Path(__file__).parents[1]
WIDTH_OF_FILES = 180
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
        names = [name for name, value in self.rows[0].items() if not isinstance(value, Mapping)]
        columns = [Column(name, justify="right", no_wrap=True) for name in names]
        table = Table(*columns, title=f"{self.name}: {self.description}")
        for row in self.rows:
            table.add_row(*("–" if row[name] is None else str(row[name]) for name in names))
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

    def json(self) -> str:
        """Everything as one JSON document."""
        document = {
            "benchmark": self.name,
            "description": self.description,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "commit": commit(),
            "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
            "parameters": self.parameters,
            "rows": self.rows,
        }
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


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
