"""What an HTTP dialect is: a value that says which requests of clients it answers, and how.

A dialect is one way to speak with the computer over HTTP. It is in a folder of its own, whose `dialect.py`
makes the value; `apps.DIALECTS` lists those that there are. All of them answer on the computer's port, the
first in the list first; a dialect may also have units that answer alone, on the ports after it.

What is not a dialect's is done for it: requests are admitted and counted, errors become JSON, answers to slow
readers are bounded, any origin may read, `/health`, `/status` and `/metrics` answer, and `/openapi.json` says
what the dialect's table says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aoray.gateway.gateway import Gateway
from aoray.web.application import AdmissionMiddleware
from aoray.web.connection import FastPath
from aoray.web.openapi import RouteTable


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The part of a dialect that one application answers."""

    title: str = ""
    """The application's, if the unit is alone in it."""
    hot: Callable[[Gateway], Sequence[Route]] = lambda gateway: ()
    """Plain routes that are tried first, and reached without FastAPI's layers."""
    first_page: Callable[[Gateway, Request], Response | None] = lambda gateway, request: None
    """`GET /`; None leaves it to the next dialect, and in the end to the computer's own first page."""
    routers: Sequence[Callable[[Gateway], APIRouter]] = ()
    last: Callable[[Gateway, bool], Sequence[Route]] = lambda gateway, alone: ()
    """Routes that are tried after all these. They are `alone` if neither Arweave nor another dialect answers
    in the same application: then they need leave nothing to them."""
    fast_path: Callable[[Gateway, AdmissionMiddleware], FastPath] | None = None
    """Requests that their connection answers itself (`web.fast_path`)."""
    shows_outboxes: bool = False
    """Whether outboxes and traces are shown there too; where all units are they always are."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One way to use the computer over HTTP."""

    name: str
    everywhere: Unit
    """What it answers on the computer's port."""
    alone: Mapping[int, Unit] = field(default_factory=dict)
    """Its units that answer alone, by how far their port is from the computer's."""
    table: RouteTable = field(default_factory=dict)
    """What its routes say of themselves."""
    read_costs: Mapping[str, int] = field(default_factory=dict)
    """What a GET costs, by the first part of its path, in looks at a page; others are free."""
