"""Dry runs: answered by the actor that holds the process, one after another, beside its messages.

So they wait for one another, and those whose clients have gone must not be waited for: the actor is told,
and drops what it has not begun. Under way are `limits.DRY_RUNS_IN_FLIGHT_MAX` at most; one address alone has
half of them.

On failure: 503 beyond the bound, and what `ProcessLocations.at_actor` raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from aoray.contracts.process_actor import ProcessActorCaller
from aoray.errors import AorayError, ClientError, Overloaded
from aoray.gateway.gateway import Gateway

LOOK_SECONDS = 0.25  # a client that has gone is noticed so late


async def dry_run(
    gateway: Gateway,
    process_id: str,
    message: dict[str, Any],
    who: str,
    is_gone: Callable[[], Awaitable[bool]],
) -> dict[str, Any]:
    """Return the result of a message on the present state of a process."""
    crowd = gateway.in_flight.crowd
    with crowd.held(crowd.dry_runs, who) as taken:
        if not taken:
            raise Overloaded("too many dry runs are under way", hint="Try again.", retry_after_s=1)
        ticket = secrets.token_hex(8)
        asking = gateway.locations.at_actor(
            process_id, lambda actor: actor.dry_run(process_id, message, ticket)
        )
        running = asyncio.ensure_future(asking)
        try:
            while not running.done():
                await asyncio.wait([running], timeout=LOOK_SECONDS)
                if not running.done() and await is_gone():
                    raise ClientError("the client went away")
            return running.result()
        finally:
            if not running.done():
                running.cancel()
                crowd.dry_runs_dropped_total += 1
                await _drop(gateway, process_id, ticket)


async def _drop(gateway: Gateway, process_id: str, ticket: str) -> None:
    with contextlib.suppress(AorayError):  # it ends with the actor
        actor = await gateway.locations.actor(process_id)
        await ProcessActorCaller(gateway.call, actor).drop_dry_run(ticket)
