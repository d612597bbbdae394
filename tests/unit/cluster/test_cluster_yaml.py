"""`cluster.yaml` is what `ray up` takes: held against Ray's own schema, filled in as Ray fills it in."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from aoray.cluster import nodes

FILE = Path(__file__).parents[3] / "cluster.yaml"


@pytest.fixture
def config() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text()))


def test_ray_takes_the_cluster_file(config: dict[str, Any]) -> None:
    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["provider"]["worker_ips"] and prepared["max_workers"] == 2


def test_a_key_that_ray_does_not_know_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="worker_start_ray_command"):
        validate_config(prepare_config(config | {"worker_start_ray_command": []}))


def test_nothing_is_installed_by_name_from_a_package_index(config: dict[str, Any]) -> None:
    given = {remote: FILE.parent / local for remote, local in config["file_mounts"].items()}
    assert [path.name for path in given.values() if not path.exists()] in ([], ["ray-token"])
    locked, itself = (line.split() for line in config["setup_commands"] if "pip install" in line)
    assert "--require-hashes" in locked and locked[-2:] == ["--requirement", "~/aoray/requirements.lock"]
    assert {"--no-deps", "--no-build-isolation"} < set(itself) and itself[-1] == "~/aoray"
    installed = tomllib.loads(given["~/aoray/pyproject.toml"].read_text())["project"]
    assert {f"~/aoray/{name}" for name in (installed["name"], installed["readme"])} < given.keys()
    assert locked[-1] in given


def test_nodes_of_the_cluster_file_offer_what_a_computer_needs(config: dict[str, Any]) -> None:
    commands = " ".join(config["head_start_ray_commands"] + config["worker_start_ray_commands"])
    assert {f"aoray_{kind}" for kind in nodes.ACTOR_KINDS} == set(re.findall(r'"(aoray_\w+)":\d', commands))
