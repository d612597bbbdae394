"""The trace of a message, `GET /trace/{message}`: what caused it, and what it caused.

Upwards: an item signed by this computer's messenger states from which process's slot it was sent
(`From-Process`, `From-Nonce`); such tags of other signers are ignored. Downwards: the outbox of each slot, by
its delivery rows, and the slots that its messages got; with a spawn also the message that tells the parent of
it, and with a message that is assigned to further processes the slots there. The causes are a list, the first
cause first. The tree is a list too, each node after its `parent` (an index, -1 for the message itself), since
chains may be longer than JSON can nest.

Bounds: at most `limits.TRACE_NODES_MAX` causes and as many nodes, breadth first. `truncated` says whether
there are more, and `more` marks each node that may have caused more than is shown: a trace of its message
continues there, and a trace of the first cause goes further back. A slot that occurs again is listed, but not
followed twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aoray import limits
from aoray.errors import MalformedInput
from aoray.gateway.gateway import Gateway
from aoray.gateway.observability.outbox import shape
from aoray.protocol.assignments import LogEntry
from aoray.protocol.ids import ID_HINT, is_id
from aoray.protocol.signed import SignedMessage, parse
from aoray.protocol.tags import ao_tag, first
from aoray.storage.records import Delivery
from aoray.web.application import json_response
from aoray.web.shares import WHO

Slot = tuple[str, int]  # process id, nonce
SentDelivery = tuple[Delivery, Sequence[tuple[str, str]]]  # and further slots: process and message ids


class Sources(Protocol):
    """The sources from which a trace is read."""

    def entry(self, process_id: str, message_id: str) -> LogEntry | None:
        """Return the log entry of a message in a process's log; None if there is none."""

    def at(self, slot: Slot) -> LogEntry | None:
        """Return the log entry of a slot; None if there is none."""

    def outbox(self, slot: Slot) -> Sequence[SentDelivery]:
        """Return the deliveries of a slot's outbox."""

    def state(self, slot: Slot) -> str:
        """Return the state of a slot's evaluation: `waiting`, `evaluated` or `error`."""


class GatewaySources(NamedTuple):
    """The log, the results and the deliveries, as a gateway reads them."""

    gateway: Gateway

    def entry(self, process_id: str, message_id: str) -> LogEntry | None:
        """Return the log entry of a message in a process's log; None if there is none."""
        return self.gateway.lookups.reader.entry(process_id, message_id) if is_id(process_id) else None

    def at(self, slot: Slot) -> LogEntry | None:
        """Return the log entry of a slot; None if there is none."""
        process_id, nonce = slot
        found = self.gateway.lookups.reader.entries(process_id, nonce - 1, 1, nonce)
        return found[0] if found else None

    def outbox(self, slot: Slot) -> Sequence[SentDelivery]:
        """Return the deliveries of a slot's outbox."""
        row = self.gateway.results.at(*slot)
        return self.gateway.pusher.sent(row) if row else []

    def state(self, slot: Slot) -> str:
        """Return the state of a slot's evaluation: `waiting`, `evaluated` or `error`."""
        has_error = self.gateway.results.has_error(*slot)
        return "waiting" if has_error is None else "error" if has_error else "evaluated"


def router(gateway: Gateway) -> APIRouter:
    """Return the route `GET /trace/{message_id}`."""
    routes = APIRouter(tags=["messenger"])

    @routes.get("/trace/{message_id}")
    async def trace(message_id: str, request: Request) -> Response:
        """Return what caused a message, and what it caused."""
        if not is_id(message_id):
            raise MalformedInput(f"{message_id[:60]!r} is not an id", field="message", hint=ID_HINT)
        process_id = request.query_params.get("process-id", "")
        if process_id:
            await gateway.lookups.process(process_id)
        item = parse(*await gateway.lookups.signed_bytes(message_id, request.scope[WHO]))
        sources, authority = GatewaySources(gateway), gateway.addresses.authority
        return json_response(
            await gateway.store_executor.long(request, traced, sources, item, process_id, authority)
        )

    return routes


def traced(
    sources: Sources,
    item: SignedMessage,
    process_id: str,
    authority: str,
    nodes_max: int = limits.TRACE_NODES_MAX,
) -> dict[str, Any]:
    """Return the whole trace of an item. Without a process, the process to which the item was sent is
    used."""
    target = process_id or _home(item)
    entry = sources.entry(target, item.id)
    causes, more_causes = _causes(sources, item, authority, nodes_max)
    root = _node(sources, -1, target, item.id, entry)
    nodes, more_nodes = _grown(sources, root, nodes_max)
    return {
        "message": item.id,
        "process": target,
        "pushed_for": first(item.tags, "Pushed-For", "") if item.address == authority else "",
        "causes": causes,
        "nodes": nodes,
        "truncated": more_causes or more_nodes,
    }


def _home(item: SignedMessage) -> str:
    """Return the process that an item is for; a process's spawn item is for the process itself."""
    return item.id if ao_tag(item.tags, "Type") == "Process" else item.target_id


def _causes(
    sources: Sources, item: SignedMessage, authority: str, causes_max: int
) -> tuple[list[dict[str, Any]], bool]:
    """Return the slots that led to an item, the first cause first, and whether there are more."""
    found: list[dict[str, Any]] = []
    seen: set[Slot] = set()
    slot = origin(item, authority)
    while slot is not None and slot not in seen and len(found) < causes_max:
        seen.add(slot)
        entry = sources.at(slot)
        if entry is None:
            break
        found.append(_scheduled(sources, entry))
        slot = origin(entry.message, authority)
    return found[::-1], slot is not None and len(found) == causes_max


def origin(item: SignedMessage, authority: str) -> Slot | None:
    """Return the slot whose outbox contained an item, if this computer's messenger states one; else None."""
    process_id, nonce = first(item.tags, "From-Process", ""), first(item.tags, "From-Nonce", "")
    known = item.address == authority and is_id(process_id) and nonce.isdecimal() and len(nonce) < 19
    return (process_id, int(nonce)) if known else None


def _grown(sources: Sources, root: dict[str, Any], nodes_max: int) -> tuple[list[dict[str, Any]], bool]:
    """Return the tree below a node, breadth first, and whether it is truncated."""
    nodes, seen = [root], set[Slot]()
    waiting = deque([0])
    while waiting:
        index = waiting.popleft()
        slot = _slot(nodes[index])
        if slot is None:
            continue
        if slot in seen:
            nodes[index]["again"] = True
            continue
        seen.add(slot)
        for child in _children(sources, index, slot):
            if len(nodes) >= nodes_max:
                for cut in (index, *waiting):
                    nodes[cut]["more"] = _slot(nodes[cut]) is not None
                return nodes, True
            waiting.append(len(nodes))
            nodes.append(child)
    return nodes, False


def _children(sources: Sources, parent: int, slot: Slot) -> Iterator[dict[str, Any]]:
    for delivery, more in sources.outbox(slot):
        there = delivery.state == "delivered"
        entry = sources.entry(delivery.target, delivery.item_id) if there else None
        node = _node(sources, parent, delivery.target, delivery.item_id, entry)
        yield node | {"delivery": shape(delivery)}
        for process_id, message_id in more:
            yield _node(sources, parent, process_id, message_id, sources.entry(process_id, message_id))


def _node(
    sources: Sources, parent: int, process_id: str, message_id: str, entry: LogEntry | None
) -> dict[str, Any]:
    place = {"parent": parent}
    if entry is None:  # the target is a wallet, or the message has no slot yet
        return place | {"message": message_id, "process": process_id, "nonce": None}
    return place | _scheduled(sources, entry)


def _scheduled(sources: Sources, entry: LogEntry) -> dict[str, Any]:
    item = entry.message
    return {
        "message": entry.message_id,
        "process": entry.process_id,
        "nonce": entry.nonce,
        "timestamp": entry.timestamp,
        "state": sources.state((entry.process_id, entry.nonce)),
        "action": first(item.tags, "Action", ""),
        "type": ao_tag(item.tags, "Type", ""),
        "signer": item.address,
    }


def _slot(node: dict[str, Any]) -> Slot | None:
    return None if node["nonce"] is None else (node["process"], node["nonce"])
