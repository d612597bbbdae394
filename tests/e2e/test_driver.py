"""A driver on the computer's Ray cluster: the same results as by HTTP, and the same refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


def test_by_ray_it_is_as_by_http_and_no_check_is_left_out(computer: LocalComputer) -> None:
    address, namespace = computer.ray()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(computer.data / "keys" / "ray-token")}
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).parents[1] / "support/ray_driver.py"),
            computer.url,
            address,
            namespace,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | token,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["road"].startswith(f"ray:{namespace}/gateway-")
    for road in ("http", "ray"):
        assert found[road]["outputs"] == sorted([*range(1, 51)] * 4)
        assert found[road]["log"] == list(range(51))
        assert found[road]["after"] == "50"
        assert found[road]["refused"] == [
            "400 bad_signature",
            "400 bad_signature",
            "404 unknown_process",
            "400 malformed",
        ]
    for road in ("http", "ray"):
        print(road, {name: found[road][name] for name in ("messages_per_second", "client_cpu_ms")})
