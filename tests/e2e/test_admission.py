"""Admission to a computer that is open to the world: rates, keys that stay secret, heads with an end.

It runs with the settings of such a computer, and writes down all it can.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aoray.client import Client
from aoray.client.transports import HttpTransport
from aoray.errors import RateLimited
from aoray.limits import REQUEST_HEAD_BYTES_MAX
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

BURST = 20
SETTINGS = {
    "AORAY_RATE_PER_WALLET": "0.1",  # so that what is used up stays so for the time of a test
    "AORAY_RATE_PER_ADDRESS": "0.2",
    "AORAY_RATE_BURST_SECONDS": str(BURST * 10),
    "AORAY_TRUSTED_PROXIES": "127.0.0.1",
    "AORAY_LOG_LEVEL": "debug",
}
ECHO = """
Handlers.add("ping", "Ping", function(msg)
  Pings = (Pings or 0) + 1
  if Pings < 60 then Send({Target = ao.id, Action = "Ping"}) end
end)
"""


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalComputer]:
    with LocalComputer(tmp_path_factory.mktemp("public") / "data", environment=SETTINGS) as running:
        yield running


def behind(address: str) -> dict[str, str]:
    """As a proxy on this machine passes it on."""
    return {"x-forwarded-for": address}


async def test_a_wallet_and_an_address_over_their_rate_are_told_when_to_come_again(
    public: LocalComputer,
) -> None:
    first, second = generate_ed25519(), generate_ed25519()
    async with (
        Client(public.url, first, HttpTransport(public.url, behind("10.0.0.1"))) as one,
        Client(public.url, second, HttpTransport(public.url, behind("10.0.0.2"))) as two,
    ):
        process = await one.spawn(data=ECHO, on_boot=True)
        for _ in range(BURST - 1):
            await one.send(process)
        with pytest.raises(RateLimited) as refused:
            await one.send(process)
        assert "this wallet" in refused.value.message
        assert 1 <= refused.value.details["retry_after_s"] <= 10
        # Another wallet goes on, and what it makes the messenger push has no rate.
        await two.send(process, action="Ping")
        async with httpx.AsyncClient(base_url=public.url, timeout=60) as http:
            while (await http.get(f"/{process}/latest")).json()["assignment"]["tags"][2]["value"] != str(
                BURST + 60 - 1
            ):
                continue
            statuses = [
                (await http.post("/dry-run", headers=behind("10.0.0.3"))).status_code
                for _ in range(2 * BURST + 1)
            ]
            assert statuses == [400] * 2 * BURST + [429]
            refusal = await http.post("/", headers=behind("10.0.0.3"))
            assert 1 <= int(refusal.headers["retry-after"]) <= 5
            assert refusal.json()["address"] == "10.0.0.3"
            assert (await http.get("/health", headers=behind("10.0.0.3"))).status_code == 200
            assert (await http.post("/dry-run", headers=behind("10.0.0.4"))).status_code == 400


def test_an_endless_head_is_refused(public: LocalComputer) -> None:
    with socket.create_connection(("127.0.0.1", public.port), timeout=30) as line:
        line.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nendless: " + b"x" * (REQUEST_HEAD_BYTES_MAX + 1))
        line.sendall(b"x" * REQUEST_HEAD_BYTES_MAX * 8)
        assert line.recv(65536).startswith(b"HTTP/1.1 431")


def test_no_key_is_in_a_log_or_in_any_file_but_its_own(public: LocalComputer) -> None:
    scratch = Path(tempfile.gettempdir()) / (
        "aoray-" + hashlib.sha256(str(public.data.resolve()).encode()).hexdigest()[:12]
    )
    keys = sorted((public.data / "keys").iterdir())
    assert [key.name for key in keys] == ["authority.json", "compute.json", "ray-token", "scheduler.json"]
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert (public.data / "keys").stat().st_mode & 0o777 == 0o700
    texts = [json.loads(key.read_bytes())["d"].encode() for key in keys if key.suffix == ".json"]
    raws = [base64.urlsafe_b64decode(text + b"=") for text in texts]
    token = (public.data / "keys/ray-token").read_bytes()
    secrets = [*texts, *raws, *(raw.hex().encode() for raw in raws), token]
    assert scratch.stat().st_mode & 0o777 == 0o700  # Ray makes its own within for everybody
    logs = [path for path in scratch.rglob("*") if path.is_file() and "logs" in path.parts]
    said = b"".join(path.read_bytes() for path in logs)
    assert b"aoray" in said, "the actors' logs are where this looks"
    kept = [path for path in public.data.rglob("*") if path.is_file() and path not in keys]
    for path in [public.log, *logs, *kept]:
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets), path


def test_a_computer_whose_key_others_may_read_does_not_start_and_says_why(public: LocalComputer) -> None:
    """The last of this file: it stops the computer."""
    public.stop()
    key = public.data / "keys/authority.json"
    key.chmod(0o644)
    command = [sys.executable, "-m", "aoray", "up", "--data", str(public.data), "--port", str(public.port)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert f"chmod 600 {key}" in ran.stderr
    assert json.loads(key.read_text())["d"] not in ran.stderr + ran.stdout
