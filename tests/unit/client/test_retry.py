"""A patient client: what is refused for now is sent again, the same bytes, for as long as a call has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import orjson
import pytest

from aoray.client import Client
from aoray.client.connection import AsyncConnection
from aoray.client.retry import wait_s
from aoray.client.transports import TransportResponse, refusal
from aoray.errors import AorayError, ClientError, Overloaded, RateLimited, Unavailable
from aoray.protocol.signatures.ed25519 import generate_ed25519

PROCESS = "A" * 43


class Script:
    """A road that answers as it is told, and remembers what it was asked."""

    url = "script:"

    def __init__(self, *answers: TransportResponse) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []

    async def ask(
        self, method: str, path: str, params: Mapping[str, str], body: bytes, content_type: str
    ) -> TransportResponse:
        self.bodies.append(body)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def close(self) -> None: ...


def answer(status: int, code: str = "", **headers: str) -> TransportResponse:
    body = {"error": "words", "code": code, "hint": "do this", "process_id": PROCESS}
    return TransportResponse(status, headers, orjson.dumps(body))


def connection(road: Script, timeout_s: float = 30) -> AsyncConnection:
    return AsyncConnection(Client("script:", generate_ed25519(), road), timeout_s)


async def test_the_same_signed_item_is_sent_until_it_is_taken() -> None:
    later = {"retry-after": "0"}
    road = Script(
        answer(429, "rate_limited", **later), answer(503, "overloaded", **later), answer(502), answer(202)
    )
    assert await connection(road).send(PROCESS, "Add")
    assert len(road.bodies) == 4
    assert len(set(road.bodies)) == 1


async def test_the_last_refusal_is_raised_when_the_time_is_over() -> None:
    road = Script(answer(503, "overloaded", **{"retry-after": "60"}))
    with pytest.raises(Overloaded) as refused:
        await connection(road, 0.05).send(PROCESS)
    assert refused.value.details["retry_after_s"] == 60
    assert len(road.bodies) == 1


async def test_what_can_not_go_through_later_is_raised_at_once() -> None:
    road = Script(answer(400, "bad_signature"))
    with pytest.raises(ClientError):
        await connection(road).send(PROCESS)
    assert len(road.bodies) == 1


def test_a_wait_is_as_long_as_it_was_said_or_a_little_longer() -> None:
    for _ in range(100):
        assert 3 <= wait_s(RateLimited("wait", retry_after_s=3), 0.1) <= 3.75
        assert 0.1 <= wait_s(Unavailable("away"), 0.1) <= 0.125


@pytest.mark.parametrize("cls", [RateLimited, Overloaded, *ClientError.__subclasses__(), AorayError])
def test_a_refusal_is_the_error_that_it_was(cls: type[AorayError]) -> None:
    found = refusal(answer(418, cls.code, **{"retry-after": "7"}))
    assert type(found) is cls
    assert (found.message, found.hint) == ("words", "do this")
    assert found.details["process_id"] == PROCESS
    assert (found.details["status"], found.details["retry_after_s"]) == (418, 7)


@pytest.mark.parametrize(
    ("status", "name"), [(404, "NotFound"), (429, "RateLimited"), (502, "Unavailable"), (400, "ClientError")]
)
def test_of_other_computers_the_status_says_what_it_is(status: int, name: str) -> None:
    assert type(refusal(TransportResponse(status, {}, b"<html>"))).__name__ == name


def test_to_import_it_is_light() -> None:
    program = (
        "import sys, aoray; aoray.connect, aoray.connect_async, aoray.new_wallet;"
        "print(*{'ray', 'wasmtime', 'pyarrow', 'fastapi', 'rich', 'aiohttp'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
