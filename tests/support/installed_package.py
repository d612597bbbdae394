"""A Python package that brings a virtual machine, installed into a directory as pip would."""

from __future__ import annotations

import shutil
from pathlib import Path

from aoray.vm import registry

CALCULATOR = Path(__file__).with_name("calculator.py")
FORMAT = "calculator-1"


def install(directory: Path, *lines: str) -> Path:
    """Install the calculator there; `lines` are what it registers. Put the directory on PYTHONPATH."""
    about = directory / "calculator-1.0.dist-info"
    about.mkdir(parents=True)
    shutil.copy(CALCULATOR, directory)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: calculator\nVersion: 1.0\n")
    registered = lines or (f"{FORMAT} = calculator:Calculator",)
    (about / "entry_points.txt").write_text("\n".join(["[aoray.virtual_machines]", *registered, ""]))
    return directory


def forget() -> None:
    """Packages are looked for again."""
    registry.virtual_machines.cache_clear()
    registry.virtual_machine.cache_clear()
