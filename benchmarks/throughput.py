"""How many messages a second. Presigned items are posted over HTTP to a number of processes, and each client
sends its next when it has the last one's result (closed loop): what the computer can do at most, with
signatures checked, everything durable, and every result seen."""

from __future__ import annotations

import argparse
from functools import partial

from benchmarks.load import closed_loop
from benchmarks.report import Report
from benchmarks.running import add_arguments as add_common
from benchmarks.running import report_of

NAME = "throughput"
DESCRIPTION = "presigned items over HTTP until their results are back, closed loop"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_common(parser, messages=3000)
    parser.add_argument("--clients", default="64", help="clients at once; several numbers with commas")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module and number of clients."""
    loads = [(n, partial(closed_loop, clients=n)) for n in map(int, arguments.clients.split(","))]
    return report_of(NAME, DESCRIPTION, arguments, "clients", loads)
