"""The state of outbox messages: `GET /outbox/{process}`.

A page consists of the rows that attempts left (`storage.deliveries`), and of the outboxes that nobody has
tried to push yet, which are read from their results. It is ordered by nonce and index; `after` is the last
entry of the page before, as its `next` gives it. Pages are bounded, and read in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from aoray import limits
from aoray.errors import MalformedInput
from aoray.gateway.gateway import Gateway
from aoray.storage.records import STATES, Delivery, DeliveryState
from aoray.web.application import json_response

PAGE_LIMIT_DEFAULT = 100
NONCE_MAX = 2**62
BEGIN = (-1, NONCE_MAX)  # before the first slot


def router(gateway: Gateway) -> APIRouter:
    """Return the route `GET /outbox/{process_id}`."""
    routes = APIRouter(tags=["messenger"])

    @routes.get("/outbox/{process_id}")
    async def outbox(process_id: str, request: Request) -> Response:
        """Return a page of the deliveries of a process's outbox messages."""
        await gateway.lookups.process(process_id)
        return json_response(
            await gateway.store_executor.long(request, _page, gateway, process_id, request.query_params)
        )

    return routes


def shape(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery as the JSON that clients get."""
    return {
        "nonce": delivery.nonce,
        "index": delivery.place,
        "kind": delivery.kind,
        "state": delivery.state,
        "id": delivery.item_id,
        "target": delivery.target,
        "attempts": delivery.attempts,
        "error": delivery.error,
        "first_attempt": delivery.first_ms,
        "last_attempt": delivery.last_ms,
    }


def _page(gateway: Gateway, process_id: str, query: Mapping[str, str]) -> dict[str, Any]:
    limit = max(1, min(_number(query, "limit") or PAGE_LIMIT_DEFAULT, limits.PAGE_ENTRIES_MAX))
    state = _state(query.get("state", ""))
    after, to_nonce = _after(query.get("after", "")), NONCE_MAX
    nonce = _number(query, "nonce")
    if nonce is not None:
        after, to_nonce = max(after, (nonce - 1, NONCE_MAX)), nonce
    found = page(gateway, process_id, after, to_nonce, state, limit + 1)
    body: dict[str, Any] = {"process": process_id, "outbox": [shape(each) for each in found[:limit]]}
    if held_s := gateway.pusher.quota.held_s(process_id):
        body["held_seconds"] = round(held_s, 3)  # over its quota (`outbox.push_quota`)
    if len(found) > limit:
        body["next"] = f"{found[limit - 1].nonce}.{found[limit - 1].place}"
    return body


def page(
    gateway: Gateway,
    process_id: str,
    after: tuple[int, int],
    to_nonce: int,
    state: DeliveryState | None,
    limit: int,
) -> list[Delivery]:
    """Return at most `limit` deliveries of a process in order, after a (nonce, index) and up to `to_nonce`;
    only those in `state`, if given."""
    untried: list[Delivery] = []
    if state in (None, "pending"):
        untried = _untried(gateway, process_id, after, to_nonce, limit)
    # The rows are read last: what was settled meanwhile is in both lists, and the rows are newer.
    rows = gateway.results.deliveries.page(process_id, after, to_nonce, state, limit)
    found = {(each.nonce, each.place): each for each in (*untried, *rows)}
    return [found[key] for key in sorted(found)][:limit]


def _untried(
    gateway: Gateway, process_id: str, after: tuple[int, int], to_nonce: int, limit: int
) -> list[Delivery]:
    """Return the messages of outboxes that nobody has tried to push yet."""
    found: list[Delivery] = []
    # Each outbox gives at least one delivery, except the first, which the page before may have included.
    nonces = gateway.results.deliveries.untried(process_id, max(after[0], 0), to_nonce, limit + 1)
    for nonce in nonces:
        row = gateway.results.at(process_id, nonce)
        deliveries = gateway.pusher.outbox_of(row) if row else []
        found += [d for d in deliveries if (d.nonce, d.place) > after and d.state == "pending"]
        if len(found) >= limit:
            break
    return found


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if text in ("", "undefined", "null"):
        return None
    if not text.isdecimal() or not text.isascii() or len(text) > 18:
        raise MalformedInput(f"{name} is {text[:40]!r}, not a number", field=name, hint="A number from 0 up.")
    return int(text)


def _state(text: str) -> DeliveryState | None:
    if not text:
        return None
    for state in STATES:
        if text == state:
            return state
    raise MalformedInput(f"state is {text[:40]!r}", field="state", hint=f"It is one of {', '.join(STATES)}.")


def _after(text: str) -> tuple[int, int]:
    if not text:
        return BEGIN
    nonce, _, place = text.partition(".")
    numbers = {"nonce": nonce, "place": place or "x"}
    try:
        return _number(numbers, "nonce") or 0, _number(numbers, "place") or 0
    except MalformedInput as error:
        raise MalformedInput(
            f"after is {text[:40]!r}", field="after", hint="Take the `next` of the page before."
        ) from error
