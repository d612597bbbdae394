"""What must be true after any run, found from what is on the disk and what clients saw.

Each checker looks at one guarantee, and says what it found wrong; it trusts only the log's bytes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import orjson
from sim_computer import Simulation
from sim_guest import MINT, MODULE, Token
from sim_parts import AUTHORITY, SCHEDULER, Kinds

from aoray.errors import AorayError
from aoray.execution.guest_input import environment_of, to_guest_message
from aoray.execution.guest_output import to_result
from aoray.outbox.entries import Sender, read_outbox
from aoray.protocol.ans104.bundles import unpack
from aoray.protocol.ans104.items import build, parse, verify
from aoray.protocol.assignments import LogEntry, check_chain
from aoray.protocol.attestations import Statement, result_hash, statements_of
from aoray.protocol.cron import Tick, crons_of, tick_of, wrong
from aoray.protocol.modules import ModuleInfo
from aoray.protocol.tags import first
from aoray.storage.factory import open_readers
from aoray.storage.results import Results
from aoray.verify.rules import moment_of

COMMAND = ".venv/bin/python -m pytest tests/simulation/test_simulation.py"

Logs = dict[str, list[LogEntry]]


def problems(simulation: Simulation) -> list[str]:
    """All that is wrong; empty is good."""
    reader = open_readers(simulation.settings)
    logs: Logs = {pid: list(reader.entries(pid, -1, 100_000)) for pid in reader.process_ids()}
    reader.close()
    results = Results(simulation.settings.data / "results.sqlite")
    try:
        found = list(simulation.world.problems)
        if not simulation.finished:
            found.append("not at rest: something was lost, or nobody goes on with it")
        found += simulation.clients.history.refused
        found += order(logs)
        found += acknowledged(simulation, logs)
        found += ticks(simulation, logs)
        found += arweave(simulation, logs)
        found += attested(simulation, logs, results)
        found += replay(simulation, logs, results)
        return found
    finally:
        results.close()


def run(seed: int, kinds: Kinds | None = None) -> list[str]:
    """What goes wrong in the run of this seed."""
    simulation = Simulation(seed, kinds)
    try:
        simulation.run()
        return problems(simulation)
    finally:
        simulation.close()


def report(seed: int, found: list[str]) -> str:
    """What a person needs to see it again."""
    lines = "\n".join(f"  {line}" for line in found[:20])
    return f"seed {seed} goes wrong; again: AORAY_SEED={seed} {COMMAND}\n{lines}"


def order(logs: Logs) -> Iterator[str]:
    """Gapless slots, each signed and linked to the one before; each message once."""
    for pid, entries in logs.items():
        if [entry.nonce for entry in entries] != list(range(len(entries))):
            yield f"gap: the slots of {pid} are {[entry.nonce for entry in entries]}"
        try:
            check_chain(pid, entries, scheduler=SCHEDULER.address)
        except AorayError as error:
            yield f"chain: {pid}: {error.message}"
        for message_id, count in Counter(entry.message_id for entry in entries).items():
            if count > 1:
                yield f"twice: {message_id} has {count} slots of {pid}"


def acknowledged(simulation: Simulation, logs: Logs) -> Iterator[str]:
    """What a client was told is so, forever: one slot, one hash."""
    slots = {(pid, entry.nonce): entry for pid, entries in logs.items() for entry in entries}
    for receipt in simulation.clients.history.acknowledged:
        entry = slots.get((receipt.process_id, receipt.nonce))
        found = entry and (entry.message_id, entry.assignment_id, entry.timestamp)
        if found != (receipt.message_id, receipt.assignment_id, receipt.timestamp):
            yield f"acknowledged: {receipt.message_id} was to be slot {receipt.nonce} of {receipt.process_id}"


def ticks(simulation: Simulation, logs: Logs) -> Iterator[str]:
    """Each tick is one that its process asks for, not before its time; none came twice; they go on (those
    of the last seconds may have come before: the clock was ahead, and went back)."""
    clients = simulation.clients
    for pid, entries in logs.items():
        process, spawned = parse(entries[0].item), moment_of(parse(entries[0].assignment))
        made: Counter[tuple[str, int]] = Counter()
        late: Counter[str] = Counter()
        for entry in entries[1:]:
            if (tick := _tick(entry)) is not None:
                made[tick.cron, tick.due] += 1
                calm = entry.nonce > clients.ticking_from.get(pid, 0) or tick.due > clients.calm_ms
                late[tick.cron] += calm
                why = wrong(tick, parse(entry.item), process, spawned, moment_of(parse(entry.assignment)))
                if why:
                    yield f"tick: slot {entry.nonce} of {pid}: {why}"
        yield from (f"tick: {each} of {pid} came {count} times" for each, count in made.items() if count > 1)
        for cron in crons_of(process.tags).crons if pid in clients.ticking_from else ():
            if cron.unit == "ms" and not late[cron.name]:
                yield f"tick: {cron.name} of {pid} does not go on"


def _tick(entry: LogEntry) -> Tick | None:
    return tick_of(parse(entry.item), entry.process_id, SCHEDULER.public_key)


def arweave(simulation: Simulation, logs: Logs) -> Iterator[str]:
    """Each entry is in one bundle, and nothing else but attestations is."""
    assignments: Counter[str] = Counter()
    for bundle in simulation.arweave.items.values():
        if first(bundle.tags, "Bundle-Format"):
            assignments.update(i.id for i in unpack(bundle.data) if first(i.tags, "Type") == "Assignment")
        else:
            yield f"uploaded: {bundle.id} is no bundle"
    expected = Counter(entry.assignment_id for entries in logs.values() for entry in entries)
    if simulation.finished and assignments != expected:
        missing, more = expected - assignments, assignments - expected
        yield f"arweave: {len(missing)} entries are in no bundle, {len(more)} in too many or in no log"


def attested(simulation: Simulation, logs: Logs, results: Results) -> Iterator[str]:
    """Each slot is attested in one item, and the result that it has is."""
    found: dict[tuple[str, int], list[Statement]] = defaultdict(list)
    bundles = [each for each in simulation.arweave.items.values() if first(each.tags, "Bundle-Format")]
    items = [item for bundle in bundles for item in unpack(bundle.data)]
    for item in (item for item in items if first(item.tags, "Type") == "Attestation"):
        verify(item)
        pid = first(item.tags, "Process", "")
        for said in statements_of(item, pid):
            found[pid, said.nonce].append(said)
    for pid, entries in logs.items():
        for entry in entries:
            row, said = results.at(pid, entry.nonce), found.pop((pid, entry.nonce), [])
            right = [Statement(row.nonce, row.message_id, result_hash(row.result))] if row else []
            if said != right and (said or simulation.finished):
                yield f"attested: of slot {entry.nonce} of {pid} {len(said)} times, or wrongly"
    if found:
        yield f"attested: {len(found)} slots that are in no log"


def replay(simulation: Simulation, logs: Logs, results: Results) -> Iterator[str]:
    """From the log alone: the same results, each outbox message once in its target's log, no other there,
    and not a coin more or less."""
    total, sent = 0, set(simulation.clients.history.sent)
    for pid, entries in logs.items():
        token, env = Token(), _environment(pid, entries)
        for entry in entries:
            expected = to_result(token.evaluate(to_guest_message(entry).message, env))
            row = results.at(pid, entry.nonce)
            if row is None or (row.message_id, row.result) != (entry.message_id, expected.result):
                if row is not None or simulation.finished:
                    yield f"replay: slot {entry.nonce} of {pid} has another result"
                continue
            for target, item_id in _pushed(pid, entries, row.nonce, row.pushed_for, row.result):
                sent.add(item_id)
                count = sum(entry.message_id == item_id for entry in logs.get(target, ()))
                if count != 1 and simulation.finished:
                    yield f"delivery: {item_id} of slot {entry.nonce} of {pid} came {count} times"
        total += token.balance
    for entries in logs.values():
        for entry in entries:
            if entry.message_id not in sent and _tick(entry) is None:
                yield f"from nowhere: {entry.message_id} in slot {entry.nonce} of {entry.process_id}"
    if simulation.finished and total != MINT * len(logs):
        yield f"tokens: {total} of {MINT * len(logs)}"


def _environment(pid: str, entries: list[LogEntry]) -> bytes:
    return environment_of(pid, parse(entries[0].item), ModuleInfo(MODULE, MODULE, ()))


def _pushed(
    pid: str, entries: list[LogEntry], nonce: int, pushed_for: str, result: bytes
) -> Iterator[tuple[str, str]]:
    """The items that a result's outbox is, by the rules of the push."""
    tags: Any = parse(entries[0].item).tags
    sender = Sender(pid, first(tags, "Module", ""), first(tags, "Scheduler", ""))
    for spec in read_outbox(orjson.loads(result), sender, nonce, pushed_for).messages:
        item = build(AUTHORITY, target=spec.target, anchor=spec.anchor, tags=spec.tags, data=spec.data)
        yield spec.target, item.id
