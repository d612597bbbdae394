"""A node provider for Ray's autoscaler: a node is one raylet more on this machine (`raylets.py`).

The autoscaler is Ray's own, and calls this as it would a cloud's (`provider: {type: external}`). Nodes
inherit the head's mark, so they end with it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

HEAD = "127.0.0.2"
OF_THE_HEAD = ("RAY_REDIS_ADDRESS", "AUTOSCALER_UPDATE_INTERVAL_S")


class RayletProvider(NodeProvider):
    """A node's id is its address; `provider_config` has the `ray start` of a node, and where its files go."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        of_head = {TAG_RAY_NODE_KIND: NODE_KIND_HEAD, TAG_RAY_USER_NODE_TYPE: "head"}
        self._tags = {HEAD: of_head | {TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}}
        self._last = int(HEAD.rpartition(".")[2])

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        return [node for node, tags in self._tags.items() if tag_filters.items() <= tags.items()]

    def is_running(self, node_id: str) -> bool:
        return node_id in self._tags

    def is_terminated(self, node_id: str) -> bool:
        return node_id not in self._tags

    def node_tags(self, node_id: str) -> dict[str, str]:
        return self._tags[node_id]

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        self._tags[node_id] |= tags

    def external_ip(self, node_id: str) -> str:
        return node_id

    def internal_ip(self, node_id: str) -> str:
        return node_id

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> None:
        for _ in range(count):
            self._last += 1
            address = f"127.0.0.{self._last}"
            self._tags[address] = {**tags, TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}
            root = self.provider_config["root"]
            command = [*self.provider_config["start"], "--node-ip-address", address]
            command += ["--resources", json.dumps(node_config["resources"])]
            command += ["--temp-dir", f"{self.provider_config['scratch']}/{address}"]
            own = {name: value for name, value in os.environ.items() if name not in OF_THE_HEAD}
            with Path(root, f"{address}.log").open("ab") as log:
                subprocess.Popen(
                    command, stdout=log, stderr=log, env=own | {"AORAY_DATA": f"{root}/data-{address}"}
                )

    def terminate_node(self, node_id: str) -> None:
        del self._tags[node_id]
