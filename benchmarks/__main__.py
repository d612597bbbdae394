"""Runs a benchmark by name. Each is a module with NAME, DESCRIPTION, `add_arguments` and `run`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import density, latency, spawn, throughput, wake

BENCHMARKS = {module.NAME: module for module in (throughput, latency, spawn, density, wake)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, module in BENCHMARKS.items():
        module.add_arguments(names.add_parser(name, help=module.DESCRIPTION, description=module.DESCRIPTION))
    arguments = parser.parse_args()
    report = BENCHMARKS[arguments.name].run(arguments)
    if arguments.json == "-":
        sys.stdout.write(report.json())
    else:
        report.print()
        if arguments.json:
            Path(arguments.json).write_text(report.json(), encoding="utf-8")


if __name__ == "__main__":
    main()
