"""Ray's own autoscaler gives a computer the nodes that its actors ask for."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from polling import wait_until
from postgres_server import PostgresServer
from raylet_provider import HEAD
from raylets import START, Marked, Node, Raylets, environment_of
from spread_computer import ALL, GATEWAY

from aoray.testing.local_computer import free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

SECONDS_MAX = 120.0


def autoscaling(raylets: Raylets) -> dict[str, object]:
    """What `ray up` makes of a cluster.yaml. Its nodes are raylets here (`tests/support/raylet_provider.py`),
    at least one."""
    provider = {
        "type": "external",
        "module": "raylet_provider.RayletProvider",
        "disable_node_updaters": True,
        "start": [*START, "--address", raylets.address],
        "scratch": str(raylets.scratch),
        "root": str(raylets.root),
    }
    worker = {
        "resources": {"CPU": 2, **ALL},
        "node_config": {"resources": ALL},
        "min_workers": 1,
        "max_workers": 3,
    }
    commands = ["initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray"]
    return {
        "cluster_name": "test",
        "provider": provider,
        "max_workers": 3,
        "upscaling_speed": 1,
        "idle_timeout_minutes": 1,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 2, **GATEWAY}, "node_config": {}},
            "worker": worker,
        },
        **{f"{name}_commands": [] for name in commands},
        **{"auth": {}, "file_mounts": {}, "cluster_synced_files": [], "file_mounts_sync_continuously": False},
    }


def actors(head: Node) -> Counter[str]:
    """How many process actors each node has; the autoscaler's nodes carry the mark of the head."""
    return Counter(data_of(pid) for pid in head.pids("ray::ProcessActor"))


def is_spread(head: Node) -> bool:
    """Whether all four process actors are there, on two nodes at least."""
    return sum(actors(head).values()) == 4 and max(actors(head).values()) == 2


def data_of(pid: int) -> str:
    """Which node an OS process is of."""
    variables = (pair.partition(b"=") for pair in environment_of(pid).split(b"\0"))
    return next((value.decode() for name, _, value in variables if name == b"AORAY_DATA"), "")


def test_the_autoscaler_adds_the_nodes_that_actors_ask_for(tmp_path: Path) -> None:
    with PostgresServer() as postgres, Raylets(tmp_path) as raylets:
        config = tmp_path / "autoscaling.json"  # JSON is YAML
        config.write_text(json.dumps(autoscaling(raylets)))
        variables = {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_enable_autoscaler_v2": "0",
        }  # as in cluster.yaml
        head = raylets.head(GATEWAY, "--autoscaling-config", str(config), **variables)
        wait_until(lambda: len(head.pids("raylet")) == 2, head.said, SECONDS_MAX)
        up = Marked(tmp_path / "up.log")
        port = free_ports()
        command = [sys.executable, "-m", "aoray", "up", "--ray-address", raylets.address, "--actors", "4"]
        command += [
            "--store",
            postgres.url("nodes"),
            "--data",
            str(head.data),
            "--host",
            HEAD,
            "--port",
            str(port),
        ]
        try:
            up.run(command, raylets.environment)
            wait_until(lambda: is_spread(head), lambda: f"{actors(head)} {up.said()}", SECONDS_MAX)
            wait_until(lambda: healthy(f"http://{HEAD}:{port}"), up.said, SECONDS_MAX)
        finally:
            up.kill()


def healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
