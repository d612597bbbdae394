"""How long a message takes at a stated rate, from when it was due to leave until its result is back (open
loop)."""

from __future__ import annotations

import argparse
from functools import partial

from benchmarks.load import open_loop
from benchmarks.report import Report
from benchmarks.running import add_arguments as add_common
from benchmarks.running import computer_for, guests_of, measure

NAME = "latency"
DESCRIPTION = "from when an item was due to be sent until its result is back, open loop at a stated rate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_common(parser, messages=2000)
    parser.add_argument("--rate", default="100", help="messages a second; several numbers with commas")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module and rate."""
    rows = []
    guests = guests_of(arguments)
    with computer_for(arguments.url) as (url, computer):
        for guest in guests:
            for rate in map(float, arguments.rate.split(",")):
                measured = measure(url, computer, guest, partial(open_loop, rate=rate), arguments)
                rows.append(
                    {"module": guest.name, "rate": rate, **measured.row(), "server_us": measured.server_us()}
                )
    hashes = {guest.name: guest.sha256 for guest in guests}
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes}, rows)
