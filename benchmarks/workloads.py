"""The workloads that there are: every module of this package with a NAME.

A workload is a module whose docstring begins with a paragraph that describes it, with `NAME`, `DESCRIPTION`
(one line, the title of its table), `add_arguments(parser)` and `run(arguments) -> Report`. `--json`,
`--repeat`, `--compare` and `--seed` are added to each by the command line. What several need is in `running`
(a computer, what it costs), `load` (closed and open loop over HTTP), `guests` (modules) and `report`.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

import benchmarks
from benchmarks.report import Report


class Workload(NamedTuple):
    """One of them. `description` is a paragraph, `title` a line."""

    name: str
    title: str
    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Report]


def workloads() -> dict[str, Workload]:
    """All of them, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    modules = [importlib.import_module(f"benchmarks.{name}") for name in names if not name.startswith("_")]
    found = {}
    for module in modules:
        if hasattr(module, "NAME"):
            paragraph = " ".join((module.__doc__ or "").strip().partition("\n\n")[0].split())
            found[module.NAME] = Workload(
                module.NAME, module.DESCRIPTION, paragraph, module.add_arguments, module.run
            )
    return found
