"""How many messages a second: each client posts its next presigned item when it has the last one's result."""

from __future__ import annotations

import argparse
from functools import partial

from benchmarks.load import closed_loop
from benchmarks.report import Report
from benchmarks.running import add_arguments as add_common
from benchmarks.running import computer_for, guests_of, measure

NAME = "throughput"
DESCRIPTION = "presigned items over HTTP until their results are back, closed loop"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_common(parser, messages=3000)
    parser.add_argument("--clients", default="64", help="clients at once; several numbers with commas")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module and number of clients."""
    rows = []
    guests = guests_of(arguments)
    with computer_for(arguments.url) as (url, computer):
        for guest in guests:
            for clients in map(int, arguments.clients.split(",")):
                load = partial(closed_loop, clients=clients)
                measured = measure(url, computer, guest, load, arguments)
                rows.append(
                    {
                        "module": guest.name,
                        "clients": clients,
                        **measured.row(),
                        "server_us": measured.server_us(),
                    }
                )
    hashes = {guest.name: guest.sha256 for guest in guests}
    return Report(NAME, DESCRIPTION, vars(arguments) | {"module_sha256": hashes}, rows)
