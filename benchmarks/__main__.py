"""Runs a workload by name, prints its rows as a table, keeps them as JSON. Without a name: what there is."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aoray.errors import AorayError
from benchmarks.compare import compare, read
from benchmarks.report import Report, merged
from benchmarks.workloads import Workload, workloads

WIDTH = 100


def main(words: Sequence[str] | None = None) -> int:
    """The command line; gives the exit code."""
    known = workloads()
    arguments = parser_of(known).parse_args(words)
    if arguments.name is None:
        sys.stdout.write(listing(known))
        return 0
    run = known[arguments.name].run
    try:
        peer = read(Path(arguments.compare)) if arguments.compare else None  # before minutes are spent
        report = merged([run(arguments) for _ in range(arguments.repeat)])
        say(report, arguments.json, peer)
    except (AorayError, OSError) as error:
        sys.stderr.write(f"python -m benchmarks: {error}\n")
        return 1
    return 0


def parser_of(known: Mapping[str, Workload]) -> argparse.ArgumentParser:
    """The options of all workloads."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(dest="name", metavar="NAME")
    for workload in known.values():
        # A workload's own option stands in the place of one of these.
        of_one = names.add_parser(
            workload.name,
            help=workload.title,
            description=workload.description,
            conflict_handler="resolve",
        )
        of_one.add_argument(
            "--json", default="", metavar="FILE", help="write JSON too; - for nothing but JSON"
        )
        of_one.add_argument("--seed", type=int, default=1, help="of all that is left to chance [1]")
        of_one.add_argument(
            "--repeat", type=int, default=1, metavar="N", help="N times: median, least and most [1]"
        )
        of_one.add_argument(
            "--compare", default="", metavar="PEER", help="JSON of another run: ratios to it, row by row"
        )
        workload.add_arguments(of_one)
    return parser


def listing(known: Mapping[str, Workload]) -> str:
    """Every workload with its paragraph."""
    wrap = textwrap.TextWrapper(WIDTH, initial_indent="    ", subsequent_indent="    ")
    texts = [f"{workload.name}\n{wrap.fill(workload.description)}\n" for workload in known.values()]
    return "\n".join([*texts, "python -m benchmarks NAME --help says its options.\n"])


def say(report: Report, json: str, peer: Mapping[str, Any] | None) -> None:
    """The table, and the comparison; or nothing but JSON on standard output. JSON into a file."""
    if json == "-":
        sys.stdout.write(report.json())
        return
    report.print()
    if peer is not None:
        compare(report.document(), peer)
    if json:
        Path(json).parent.mkdir(parents=True, exist_ok=True)
        Path(json).write_text(report.json(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
