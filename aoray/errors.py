"""What can go wrong, as one tree; every error says whose fault it is.

    AorayError
    ├── ClientError            the request is at fault; never retried (4xx)
    │   ├── MalformedInput     bytes or JSON that do not parse; names the field (400)
    │   ├── BadSignature       the signature does not verify (400)
    │   ├── UnknownProcess     no such process in the log (404)
    │   ├── UnknownMessage     no such message in the process's log (404)
    │   ├── UnknownModule      no such module on Arweave (400 at a spawn)
    │   ├── NotFound           no such thing otherwise (404)
    │   ├── UnsupportedModule  a module that its virtual machine can't run (422)
    │   ├── UnknownFormat      a module of a format that no virtual machine here runs (422)
    │   ├── TooLarge           over a stated bound (413)
    │   └── RateLimited        over a rate; carries retry_after_s (429)
    ├── Diverged               evaluated again, a process gives other results: it is stopped (409)
    ├── LogFault               what Arweave holds of a process does not agree with itself (`aoray verify`)
    ├── ProcessError           guest code at fault: the slot's result, never raised across an actor
    └── InfrastructureError    ours; retryable (503)
        ├── Overloaded         a queue is full; carries retry_after_s (503)
        ├── ProcessStopped     the operator stopped the process; goes on when it is resumed (503)
        ├── Unavailable        an actor, store or Arweave does not answer (503)
        ├── UnknownEngine      a process of a later aoray, which this one can't evaluate (503)
        └── StaleTerm          the caller was replaced by a successor, and must stop

All of them survive pickling through Ray, since each is rebuilt from its keyword arguments. `status_of` is the
only table of HTTP statuses; `body_of` is the JSON that a person sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class AorayError(Exception):
    """The base of all errors: a `code` for programs, a message and a hint for people, and ids as
    `details`."""

    code = "error"

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: Mapping[str, Any] = details

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, dict(self.details))


def _rebuild(cls: type[AorayError], message: str, hint: str, details: dict[str, Any]) -> AorayError:
    return cls(message, hint=hint, **details)


class ClientError(AorayError):
    """The request is at fault."""

    code = "bad_request"


class MalformedInput(ClientError):
    """The input does not parse, or has a wrong value; `field` names the place."""

    code = "malformed"

    def __init__(self, message: str, *, field: str = "body", hint: str = "", **details: Any) -> None:
        super().__init__(message, hint=hint, field=field, **details)
        self.field = field


class BadSignature(ClientError):
    """The signature does not verify against the owner and the content."""

    code = "bad_signature"


class UnknownProcess(ClientError):
    """No process of that id was spawned here."""

    code = "unknown_process"


class UnknownMessage(ClientError):
    """No message or assignment of that id is in the process's log."""

    code = "unknown_message"


class UnknownModule(ClientError):
    """No module of that id is on Arweave."""

    code = "unknown_module"


class NotFound(ClientError):
    """There is no such route or thing."""

    code = "not_found"


class UnsupportedModule(ClientError):
    """The module's bytes are nothing that its virtual machine runs: so it is on every machine."""

    code = "unsupported_module"


class UnknownFormat(ClientError):
    """No virtual machine that is installed here runs modules of that Module-Format; elsewhere one may."""

    code = "unknown_format"


class TooLarge(ClientError):
    """The input is beyond a bound of `aoray.limits`."""

    code = "too_large"


class RateLimited(ClientError):
    """One address or wallet sent too many requests."""

    code = "rate_limited"


class LogFault(AorayError):
    """A process's log is false, as checking it shows; `details` name the nonce and the item at fault."""

    code = "log_fault"


class ProcessError(AorayError):
    """The guest's code is at fault: a trap, out of compute or memory, bad output. Becomes the slot's
    result."""

    code = "process_error"


class Diverged(AorayError):
    """A message gave another result when it was evaluated again: its process is stopped until an operator
    has looked."""

    code = "diverged"


class InfrastructureError(AorayError):
    """The computer is at fault; the same call may succeed later."""

    code = "infrastructure"


class Overloaded(InfrastructureError):
    """A queue is at its bound; try again after `retry_after_s`."""

    code = "overloaded"


class ProcessStopped(InfrastructureError):
    """The operator stopped the process: nothing is ordered or evaluated until it is resumed."""

    code = "process_stopped"


class Unavailable(InfrastructureError):
    """An actor, a store or Arweave does not answer just now."""

    code = "unavailable"


class BadCheckpoint(InfrastructureError):
    """A checkpoint is missing, torn, or not of the state that it should have."""

    code = "bad_checkpoint"


class UnknownEngine(InfrastructureError):
    """A process was spawned under an engine that only a later aoray knows."""

    code = "unknown_engine"


class StaleTerm(InfrastructureError):
    """A successor holds a later term; whoever sees this must stop writing."""

    code = "stale_term"


STATUS: Mapping[type[AorayError], int] = {
    UnknownProcess: 404,
    UnknownMessage: 404,
    NotFound: 404,
    UnsupportedModule: 422,
    UnknownFormat: 422,
    TooLarge: 413,
    RateLimited: 429,
    ClientError: 400,
    Diverged: 409,
    InfrastructureError: 503,
    AorayError: 500,
}


def status_of(error: AorayError) -> int:
    """Return the HTTP status of an error: that of its nearest class in `STATUS`."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def body_of(error: AorayError) -> dict[str, Any]:
    """Return the JSON body of an error: `error` (text, as AO clients expect), `code`, `hint` and the ids."""
    body: dict[str, Any] = {"error": error.message, "code": error.code}
    if error.hint:
        body["hint"] = error.hint
    return body | {key: value for key, value in error.details.items() if key not in body}
