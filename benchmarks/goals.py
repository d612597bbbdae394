"""The table of goals: `make goals`, or `python -m benchmarks.goals [--only NAME,…] [--profile] [--to DIR]`.

Runs one command for each row, one after another, keeps each one's JSON in the directory (benchmarks/results),
and writes the table `goals.md` there: command, goal, result, peer, verdict, and the three hottest costs. With
`--profile` each command runs a second time, under py-spy, and the costs are functions of aoray with what they
call outside of aoray; without, they are the parts of the computer by CPU time. A command that fails or takes
too long is a row that says so; the others go on. On a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aoray.testing.local_computer import command_of, part_of, running
from benchmarks.compare import Document, read
from benchmarks.report import ROOT
from benchmarks.running import ACTORS

RESULTS = Path(__file__).with_name("results")
SECONDS_MAX = 240.0
ENDING_SECONDS_MAX = 30
MARK = "AORAY_GOALS_MARK"
PROFILE_S = 5
COSTS = 3
WAITING = (
    "_worker (",
    "Worker.main_loop",
    "main_loop (",
    "Thread.run (",
    "wait (",
    "Condition.wait (",
    "_work (aoray/util/serial_executor.py",
    "select (",
    "run_forever (",
)
Row = Mapping[str, Any]
Figure = Callable[[Sequence[Row]], float]


def column(name: str, **asked: Any) -> Figure:
    """A column of the row that was asked for (the last, if it is not said which)."""

    def figure(rows: Sequence[Row]) -> float:
        found = [row for row in rows if all(row.get(key) == value for key, value in asked.items())]
        return float(found[-1][name])

    return figure


def best(name: str) -> Figure:
    """The highest of a column."""
    return lambda rows: max(float(row[name]) for row in rows)


def per_gib(rows: Sequence[Row]) -> float:
    """Processes in 1 GiB, by what each holds at rest."""
    return 2**20 / float(rows[-1]["resting_kib_each"])


class Goal(NamedTuple):
    """A row of the table. `most`: the goal is a bound from above."""

    name: str
    words: str  # of the command
    figure: Figure
    goal: float
    unit: str
    most: bool = False
    peer: str = "–"
    repeat: int = 1

    @property
    def asked(self) -> str:
        """What the workload is told."""
        return self.words if self.repeat == 1 else f"{self.words} --repeat {self.repeat}"

    @property
    def command(self) -> str:
        return f"python -m benchmarks {self.asked}"

    def met(self, value: float) -> bool:
        return value <= self.goal if self.most else value >= self.goal


HTTP = "wao 4.7, legacynet 2.8, HyperBEAM ~2"
GOALS = (
    Goal(
        "aos 2.0.6 ping, 16 processes, 16 clients",
        "throughput --module aos --clients 16 --messages 4000",
        column("messages_per_s"),
        500,
        "msg/s",
        peer=HTTP,
        repeat=5,
    ),
    Goal(
        "built-in Lua ping, the same",
        "throughput --module lua --clients 16 --messages 6000",
        column("messages_per_s"),
        1500,
        "msg/s",
        repeat=5,
    ),
    Goal(
        "WAT counter, the same, 64 clients",
        "throughput --module counter --clients 64 --messages 12000",
        column("messages_per_s"),
        3000,
        "msg/s",
        repeat=5,
    ),
    Goal(
        "p99 at half of the peak, built-in Lua",
        "latency --module lua --rate {half} --messages 6000",
        column("p99_ms"),
        25,
        "ms",
        most=True,
        peer="wao 344 at one client",
        repeat=5,
    ),
    Goal(
        "spawn until the first result, built-in Lua",
        "spawn --module lua --clients 64 --spawns 2000",
        best("spawns_per_s"),
        500,
        "/s",
        peer="wao 2.8",
    ),
    Goal(
        "resident processes in 1 GiB, built-in Lua",
        "density --module lua --processes 1000",
        per_gib,
        2000,
        "",
        peer="wao 5, legacynet 5",
    ),
    Goal(
        "hibernated process, disk over the image",
        "density --module lua --processes 1000",
        column("disk_kib_each"),
        50,
        "KB",
        most=True,
    ),
    Goal(
        "wake from hibernation, p99",
        "wake --module lua --processes 500",
        column("p99_ms", state="asleep"),
        50,
        "ms",
        most=True,
    ),
    Goal("ring, 100 processes", "ring --processes 100", best("hops_per_s"), 1000, "hops/s", peer="wao 5"),
    Goal(
        "scheduled and durable, one shard",
        "schedule",
        best("messages_per_s"),
        10_000,
        "/s",
        peer="HyperBEAM 10",
    ),
    Goal("replay against live", "replay --module lua", column("times_live"), 5, "×"),
    Goal("2 cores against 1, same work", "scale --cores 1,2 --messages 4000", best("speedup"), 1.8, "×"),
    Goal(
        "overload: results at 3× the peak, of the peak",
        "overload --module lua",
        column("kept"),
        0.9,
        "×",
    ),
    Goal(
        "peers in the same run: aos ping, times wao's server",
        "peers",
        lambda rows: (
            column("messages_per_s", peer="aoray")(rows) / column("messages_per_s", peer="wao")(rows)
        ),
        1,
        "×",
    ),
)


def main(words: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.goals", description=__doc__)
    parser.add_argument("--only", default="", help="workloads, with commas [all]")
    parser.add_argument("--profile", action="store_true", help="run each a second time, under py-spy")
    parser.add_argument("--to", type=Path, default=RESULTS, help="directory [benchmarks/results]")
    arguments = parser.parse_args(words)
    arguments.to.mkdir(parents=True, exist_ok=True)
    chosen = [
        goal for goal in GOALS if not arguments.only or goal.words.split()[0] in arguments.only.split(",")
    ]
    table = arguments.to / "goals.md"
    lines: list[str] = []
    found: dict[str, Document | str] = {}
    for goal in chosen:
        goal = goal._replace(words=goal.words.format(half=half_of_peak(found)))
        if goal.words not in found:
            found[goal.words] = run_command(goal.asked, arguments.to)
        costs = profiled(goal.words) if arguments.profile else []
        lines.append(row_of(goal, found[goal.words], costs))
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
        table.write_text("\n".join([HEAD, *lines, "", *told(found.values())]) + "\n", encoding="utf-8")
    return 0


HEAD = """| workload | command | goal | result | peer | verdict | three hottest costs |
|---|---|---|---|---|---|---|"""


def row_of(goal: Goal, document: Document | str, costs: Sequence[str]) -> str:
    """A line of the table; of a command that gave nothing, why."""
    bound = f"{'<' if goal.most else '≥'} {goal.goal:,g} {goal.unit}".strip()
    start = f"| {goal.name} | `{goal.command}` | {bound} |"
    if isinstance(document, str):
        return f"{start} – | {goal.peer} | not measured: {document} | – |"
    value = goal.figure(document["rows"])
    least, most = (goal.figure([edge_of(row, edge) for row in document["rows"]]) for edge in (0, 1))
    spread = "" if goal.repeat == 1 else f" ({least:,.1f} to {most:,.1f})"
    verdict = "met" if goal.met(value) else "missed"
    hottest = "; ".join(costs or parts_of(document["rows"])) or "–"
    return f"{start} **{value:,.1f}**{spread} {goal.unit} | {goal.peer} | {verdict} | {hottest} |"


def edge_of(row: Row, edge: int) -> Row:
    """The row with the least (0) or the most (1) of each column, if it is of several runs."""
    return {**row, **{name: both[edge] for name, both in row.get("spread", {}).items()}}


def told(documents: Iterable[Document | str]) -> list[str]:
    """Of what machine and commit it is."""
    first = next((each for each in documents if not isinstance(each, str)), None)
    if first is None:
        return []
    machine = first["machine"]
    return [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
        f" load average {machine['load_average']:.2f} at the first;"
        f" commit `{first['commit']}`, {first['time']}."
    ]


def parts_of(rows: Sequence[Row]) -> list[str]:
    """The parts of the computer that took the most CPU, of the last row that says so."""
    for row in reversed(rows):
        if row.get("server_us"):
            return [f"{part} {us} µs" for part, us in list(row["server_us"].items())[:COSTS]]
    return []


def half_of_peak(found: Mapping[str, Document | str]) -> str:
    """Half of what the Lua row of this run did."""
    for words, document in found.items():
        if words.startswith("throughput --module lua") and not isinstance(document, str):
            return str(round(best("messages_per_s")(document["rows"]) / 2))
    return "200"


def run_command(words: str, to: Path) -> Document | str:
    """What a workload gave; or why it gave nothing."""
    name = "-".join(word.lstrip("-") for word in words.split())
    file = to / f"{name}.json"
    command = [sys.executable, "-m", "benchmarks", *words.split(), "--json", str(file)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, said = process.communicate(timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return f"it took more than {SECONDS_MAX:.0f} s"
    finally:
        end(process)
    if process.returncode:
        return said.decode().strip().rpartition("\n")[2][:200].replace("|", "/")
    return read(file)


def end(process: subprocess.Popen[bytes]) -> None:
    """With its computer: it is asked first, as with Ctrl-C."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(ENDING_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def profiled(words: str) -> list[str]:
    """The command once more, and the hottest costs of its actors meanwhile."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "benchmarks", *words.split()]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {MARK: mark, "SPT_NOENV": "1"},
    )
    costs: Counter[str] = Counter()
    deadline = time.monotonic() + SECONDS_MAX
    try:
        while process.poll() is None and time.monotonic() < deadline:
            actors = marked_actors(mark)
            samples = [(pid, kind, costs) for pid, kind in actors.items()]
            threads = [threading.Thread(target=sample, args=each) for each in samples]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if not actors:
                time.sleep(1)
    finally:
        end(process)
    total = costs.total() or 1
    return [f"{name} {100 * count / total:.0f} %" for name, count in costs.most_common(COSTS)]


def marked_actors(mark: str) -> dict[int, str]:
    """The actors of the computer that a command has started."""
    found = {}
    for pid in running():
        kind = part_of(command_of(pid))
        if kind in ACTORS and _has(pid, f"{MARK}={mark}".encode()):
            found[pid] = kind
    return found


def _has(pid: int, text: bytes) -> bool:
    try:
        return text in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def sample(pid: int, kind: str, costs: Counter[str]) -> None:
    """Some seconds of an actor's stacks: each sample counts for the innermost function of aoray in it."""
    py_spy = Path(sys.executable).with_name("py-spy")
    command = [
        str(py_spy),
        "record",
        "-p",
        str(pid),
        "-d",
        str(PROFILE_S),
        "-F",
        "-f",
        "raw",
        "-o",
        "/dev/stdout",
    ]
    try:  # it may wait forever for a process that ends meanwhile
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=3 * PROFILE_S
        )
    except subprocess.TimeoutExpired:
        return
    for line in done.stdout.decode(errors="replace").splitlines():
        if line.startswith("py-spy>"):
            continue
        stack, _, count = line.rpartition(" ")
        cost = cost_of(stack.split(";"))
        if count.isdigit() and cost:
            costs[f"{kind}: {cost}"] += int(count)


def cost_of(frames: Sequence[str]) -> str:
    """The innermost frame of aoray's, and what it calls; or the innermost of all; nothing if it waits."""
    if frames[-1].startswith(WAITING):
        return ""
    ours = [index for index, frame in enumerate(frames) if "aoray/" in frame]
    if not ours:
        return frames[-1]
    name = frames[ours[-1]]
    called = frames[ours[-1] + 1 : ours[-1] + 2]
    return f"{name} → {called[0]}" if called else name


if __name__ == "__main__":
    sys.exit(main())
