"""The tree of errors: the class of an error says whether the request, the process or the computer is at
fault.

    AorayError
    ├── ClientError            the request is at fault; never retried (4xx)
    │   ├── MalformedInput     bytes or JSON that do not parse; names the field (400)
    │   ├── BadSignature       the signature does not verify (400)
    │   ├── UnknownProcess     no such process in the log (404)
    │   ├── UnknownMessage     no such message in the process's log (404)
    │   ├── UnknownModule      no such module on Arweave (400 at a spawn)
    │   ├── NotFound           nothing else of that name (404)
    │   ├── UnsupportedModule  a module that its virtual machine can't run (422)
    │   ├── UnknownFormat      a Module-Format for which no virtual machine is installed (422)
    │   ├── TooLarge           over a stated bound (413)
    │   └── RateLimited        over a rate; carries retry_after_s (429)
    ├── Diverged               a process gave another result when evaluated again, and is stopped (409)
    ├── LogFault               what Arweave holds of a process contradicts itself (`aoray verify`)
    ├── ProcessError           the guest's code is at fault: becomes the result of the slot
    └── InfrastructureError    the computer is at fault; the request may be retried (503)
        ├── Overloaded         a queue is full; carries retry_after_s (503)
        ├── ProcessStopped     the operator stopped the process; it continues when resumed (503)
        ├── Unavailable        an actor, a store or Arweave does not answer (503)
        ├── BadCheckpoint      a checkpoint is missing or damaged; the log is replayed instead (503)
        ├── UnknownEngine      a process of a later version of aoray, which this version can't evaluate (503)
        └── StaleTerm          the caller was replaced by a successor, and must stop

Every error survives pickling through Ray, because it is rebuilt from its keyword arguments. `status_of` holds
the only table of HTTP statuses; `body_of` makes the JSON body that a client gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class AorayError(Exception):
    """The base class of all errors: a `code` for programs, a message and a hint for people, and the ids
    concerned in `details`."""

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
    """The input does not parse, or holds a wrong value; `field` names the tag, parameter or JSON key at
    fault."""

    code = "malformed"

    def __init__(self, message: str, *, field: str = "body", hint: str = "", **details: Any) -> None:
        super().__init__(message, hint=hint, field=field, **details)
        self.field = field


class BadSignature(ClientError):
    """The signature does not verify against the owner and the content."""

    code = "bad_signature"


class UnknownProcess(ClientError):
    """No process with this id was spawned on this computer."""

    code = "unknown_process"


class UnknownMessage(ClientError):
    """No message or assignment with this id is in the process's log."""

    code = "unknown_message"


class UnknownModule(ClientError):
    """No module with this id is on Arweave."""

    code = "unknown_module"


class NotFound(ClientError):
    """There is no such route, or nothing of that name."""

    code = "not_found"


class UnsupportedModule(ClientError):
    """The virtual machine can't run the bytes of this module; every machine comes to the same verdict."""

    code = "unsupported_module"


class UnknownFormat(ClientError):
    """No virtual machine for this Module-Format is installed here; another computer may have one."""

    code = "unknown_format"


class TooLarge(ClientError):
    """The input exceeds a bound of `aoray.limits`."""

    code = "too_large"


class RateLimited(ClientError):
    """One address or wallet sent too many requests."""

    code = "rate_limited"


class LogFault(AorayError):
    """A check of a process's log found it to be false; `details` name the nonce and the item at fault."""

    code = "log_fault"


class ProcessError(AorayError):
    """The guest's code is at fault: it trapped, ran out of compute or memory, or gave malformed output. The
    error becomes the result of its slot."""

    code = "process_error"


class Diverged(AorayError):
    """A message gave another result when it was evaluated again; its process is stopped until an operator
    intervenes."""

    code = "diverged"


class InfrastructureError(AorayError):
    """The computer is at fault; the same call may succeed later."""

    code = "infrastructure"


class Overloaded(InfrastructureError):
    """A queue is at its bound; the caller should try again after `retry_after_s` seconds."""

    code = "overloaded"


class ProcessStopped(InfrastructureError):
    """The operator stopped the process: it gets no new slots and no results until it is resumed."""

    code = "process_stopped"


class Unavailable(InfrastructureError):
    """An actor, a store or Arweave does not answer at the moment."""

    code = "unavailable"


class BadCheckpoint(InfrastructureError):
    """A checkpoint is missing, damaged, or holds another state than its hash says."""

    code = "bad_checkpoint"


class UnknownEngine(InfrastructureError):
    """The process was spawned under a version of the engine that only a later version of aoray has."""

    code = "unknown_engine"


class StaleTerm(InfrastructureError):
    """A successor holds a later term; whoever gets this error must stop writing."""

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
