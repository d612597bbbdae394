"""How many Lua expressions a second aos 2.0.6 evaluates: signed `Eval` messages of the processes' owner over
HTTP, each with its result awaited (closed loop). It is what a person at the aos shell does, many times over:
each message brings source that the process must parse, compile and run."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.load import closed_loop
from benchmarks.report import Report
from benchmarks.running import add_arguments as add_common
from benchmarks.running import report_of

NAME = "aos_eval"
DESCRIPTION = "Eval messages to aos 2.0.6 until their results are back, closed loop"
CODE = """
local sum = 0
for n = 1, 100 do sum = sum + n end
Count = (Count or 0) + 1
return "evaluated " .. Count .. " " .. sum
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_common(parser, messages=2000, module="aos")
    parser.add_argument("--clients", default="16", help="clients at once; several numbers with commas")
    parser.add_argument("--code", type=Path, help="a Lua file instead, whose result has the word evaluated")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each module and number of clients."""
    code = arguments.code.read_text(encoding="utf-8") if arguments.code else CODE
    change = partial(replace, action="Eval", data=code, answer=b"evaluated")
    loads = [(n, partial(closed_loop, clients=n)) for n in map(int, arguments.clients.split(","))]
    return report_of(NAME, DESCRIPTION, arguments, "clients", loads, change)
