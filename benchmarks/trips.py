"""How far a reader has to go: which functions of aoray one message enters on an idle computer, in its three
trips. `post` is the `POST` of a message, in the gateway until it has answered and in the shard until it has
told the actor; `result` is all that the gateway does for the `GET /result` that follows at once, the delivery
that it waits for included; `actor` is all that the process actor does for the message. `calls` counts entries
into functions and lambdas of `aoray/` (not resumed coroutines, not libraries, not what is made of named
tuples and dataclasses), `functions` and `files` how many different ones, and `moves` how often the next
function entered stands in another file than the last of its process.

It is a whole computer, nothing in it is replaced; each of its processes writes down what it enters
(`call_recorder`), which makes it slow: figures of time are for other workloads. What runs by a timer falls
into a trip now and then, so the figures are those of the message with the fewest calls, in the gateway and
shard, and in the actor. `--show` prints its trips, function by function.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from aoray.testing.local_computer import LocalComputer
from benchmarks.guests import Guest, guest
from benchmarks.http import Connection
from benchmarks.load import ACCEPTED, OK, Prepared, make_ready
from benchmarks.report import Report
from benchmarks.running import actors_of, hashes_of, run_loop

NAME = "trips"
DESCRIPTION = "functions of aoray that one message enters"
SLOW = """
Handlers.add("ping", "Ping", function()
  for n = 1, 200000 do end
  print("pong")
end)
"""  # for some milliseconds, so that its result is asked for before it is there
REST_S = 0.3  # after a message: until then its actor has told all whom it tells
RECORDER = Path(__file__).with_name("call_recorder.py")


class Entered(NamedTuple):
    """A function was entered; in ns of the monotonic clock."""

    at_ns: int
    file: str
    function: str


class Sent(NamedTuple):
    """A message on its way: when it was posted, when that was answered, and when the next may come."""

    posted_ns: int
    accepted_ns: int
    over_ns: int


Trips = dict[str, Sequence[Entered]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--messages", type=int, default=15, help="one after another [15]")
    parser.add_argument("--show", action="store_true", help="print the trips too")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each trip."""
    sender = replace(guest("lua", "ping", ""), program=SLOW)
    with tempfile.TemporaryDirectory(prefix="aoray-trips-") as directory:
        calls, path = Path(directory) / "calls", Path(directory) / "path"
        calls.mkdir()
        path.mkdir()
        shutil.copy(RECORDER, path / "sitecustomize.py")
        recorded = {
            "AORAY_CALLS_TO": str(calls),
            "PYTHONPATH": os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        with LocalComputer(
            Path(directory) / "data", ["--gateways", "1", "--shards", "1"], recorded
        ) as computer:
            sent = run_loop(_send(computer.url, sender, arguments.messages, arguments.seed))
            kinds = actors_of(computer)
            entered = {pid: _read(calls / str(pid)) for pid in kinds if (calls / str(pid)).exists()}
    trips = [_trips(each, kinds, entered) for each in sent]
    # Where the client was slow, its result came before it knew that the message was accepted: by the post.
    least = min(trips, key=lambda found: (len(found["post"]), len(found["result"])))
    least["actor"] = min((found["actor"] for found in trips), key=len)
    if arguments.show:
        _show(least)
    rows = [{"trip": trip, **_figures(entered)} for trip, entered in least.items()]
    parameters = vars(arguments) | {"module_sha256": hashes_of([sender])}
    return Report(NAME, DESCRIPTION, parameters, rows)


async def _send(url: str, sender: Guest, count: int, seed: int) -> list[Sent]:
    """One message after another, each with a rest after it. The first few find nothing ready, and don't
    count."""
    messages = await make_ready(url, sender, 1, count + 2, seed)
    line = Connection(url)
    try:
        return [await _exchange(line, each) for each in messages][2:]
    finally:
        line.close()


async def _exchange(line: Connection, message: Prepared) -> Sent:
    posted_ns = time.monotonic_ns()
    accepted = await line.request(message.post)
    accepted_ns = time.monotonic_ns()
    answered = await line.request(message.result)
    if (accepted.status, answered.status) != (ACCEPTED, OK):
        raise RuntimeError(f"a message was not answered: {accepted}, {answered}")
    await asyncio.sleep(REST_S)
    return Sent(posted_ns, accepted_ns, time.monotonic_ns())


def _read(file: Path) -> list[Entered]:
    """What one process entered; the line that it is about to end does not count."""
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    parts = (line.split(" ", 2) for line in lines)
    return sorted(Entered(int(at_ns), file, function) for at_ns, file, function in parts)


def _trips(sent: Sent, kinds: Mapping[int, str], entered: Mapping[int, Sequence[Entered]]) -> Trips:
    """The trips of one message."""

    def within(kind: str, since_ns: int, until_ns: int) -> list[Entered]:
        return [
            each
            for pid, all_of_it in entered.items()
            if kinds[pid] == kind
            for each in all_of_it
            if since_ns <= each.at_ns < until_ns
        ]

    posted_ns, accepted_ns, over_ns = sent
    return {
        "post": within("GatewayActor", posted_ns, accepted_ns) + within("ShardActor", posted_ns, over_ns),
        "result": within("GatewayActor", accepted_ns, over_ns),
        "actor": within("ProcessActor", posted_ns, over_ns),
    }


def _figures(trip: Sequence[Entered]) -> dict[str, int]:
    return {
        "calls": len(trip),
        "functions": len({(each.file, each.function) for each in trip}),
        "files": len({each.file for each in trip}),
        "moves": sum(last.file != then.file for last, then in itertools.pairwise(trip)),
    }


def _show(trips: Trips) -> None:
    """Trips as they are read: a file once, its functions below it."""
    for trip, entered in trips.items():
        print(f"{trip}:")
        file = ""
        for each in entered:
            if each.file != file:
                file = each.file
                print(f"  {file}")
            print(f"    {each.function}")
