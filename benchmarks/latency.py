"""How long a message takes, from when it was due to leave until its result is back. Messages leave at a
stated rate whether or not answers come (open loop), so a stall counts for everything that it delays."""

from __future__ import annotations

import argparse
from functools import partial

from benchmarks.load import open_loop
from benchmarks.report import Report
from benchmarks.running import add_arguments as add_common
from benchmarks.running import report_of

NAME = "latency"
DESCRIPTION = "from when an item was due to be sent until its result is back, open loop at a stated rate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_common(parser, messages=2000)
    parser.add_argument("--rate", default="100", help="messages a second; several numbers with commas")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module and rate."""
    loads = [(rate, partial(open_loop, rate=rate)) for rate in map(float, arguments.rate.split(","))]
    return report_of(NAME, DESCRIPTION, arguments, "rate", loads)
