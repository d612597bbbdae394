"""Calls to the computer's Ray actors by name, with Ray's errors turned into ours.

An actor that died or restarts gives `Unavailable`, and its handle is looked up anew at the next call. An
`AorayError` raised in an actor arrives as itself. Gateways and process actors see only `Call`, so tests
give it plain functions.
"""

from __future__ import annotations

from typing import Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from aoray.errors import AorayError, Unavailable


class Call(Protocol):
    """`await call("shard-0", "submit", batch)`."""

    async def __call__(self, actor: str, method: str, *arguments: Any) -> Any: ...


class RayCalls:
    """`Call` over Ray. Handles are kept: to look one up costs as much as a call."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    async def __call__(self, actor: str, method: str, *arguments: Any) -> Any:
        handle = self._handle(actor)
        try:
            return await getattr(handle, method).remote(*arguments)
        except RayTaskError as error:
            raise _cause(error, actor, method) from error
        except RayError as error:
            self._handles.pop(actor, None)
            raise Unavailable(f"{actor} does not answer", hint="It is being restarted.") from error

    def _handle(self, actor: str) -> Any:
        if actor not in self._handles:
            try:
                self._handles[actor] = ray.get_actor(actor)
            except ValueError as error:
                raise Unavailable(f"{actor} is not there", hint="It is being started.") from error
        return self._handles[actor]


def _cause(error: RayTaskError, actor: str, method: str) -> BaseException:
    cause = error.cause
    return cause if isinstance(cause, AorayError) else AorayError(f"{actor}.{method} failed: {cause!r}")
