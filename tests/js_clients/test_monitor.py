"""`monitor` of the unmodified aoconnect starts ticks, `unmonitor` stops them: `monitor.mjs` checks it all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from aoray.testing.local_computer import LocalComputer

HERE = Path(__file__).parent


@pytest.mark.node
@pytest.mark.cluster
def test_aoconnect_starts_and_stops_ticks_of_lua_and_aos(computer: LocalComputer, aos_module: str) -> None:
    setup = {
        "mu": computer.unit(2),
        "cu": computer.unit(4),
        "gateway": computer.unit(1),
        "modules": {"lua": computer.health["module"], "aos": aos_module},
        **{name: computer.health[name] for name in ("scheduler", "authority")},
    }
    script = ["node", str(HERE / "monitor.mjs"), json.dumps(setup)]
    ran = subprocess.run(script, cwd=HERE, capture_output=True, text=True, timeout=150, check=False)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert min(json.loads(ran.stdout.splitlines()[-1]).values()) >= 3
