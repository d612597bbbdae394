"""The units of the legacy dialect, each alone in its application."""

from __future__ import annotations

from starlette.types import ASGIApp

from aoray.gateway import apps
from aoray.gateway.gateway import Gateway
from aoray.gateway.legacy.dialect import COMPUTE, DIALECT, MESSENGER, SCHEDULER


def messenger_unit(gateway: Gateway) -> ASGIApp:
    return apps.unit_alone(gateway, DIALECT, MESSENGER)


def scheduler_unit(gateway: Gateway) -> ASGIApp:
    return apps.unit_alone(gateway, DIALECT, SCHEDULER)


def compute_unit(gateway: Gateway) -> ASGIApp:
    return apps.unit_alone(gateway, DIALECT, COMPUTE)
