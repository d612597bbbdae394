"""The wheel holds all that aoray reads at run time, and runs where there is nothing else of the repository;
the container is made of such a wheel, and the computer of compose.yaml works.

The wheel is installed as pip does it into an environment of its own. What it depends on is borrowed from the
environment of the tests, but for aoray itself: a fresh download of Ray says nothing about the wheel. What the
Dockerfile and compose.yaml say is read, and done on this machine, without an engine of containers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
import yaml
from postgres_server import PostgresServer
from s3_server import CREDENTIALS, S3Server

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
READ_AT_RUN_TIME = {"aoray/py.typed", "aoray/modules/lua/module.wasm", "aoray/modules/lua/module.json"}


def ran(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copied() -> list[str]:
    """What the Dockerfile copies from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M)
    return [name for line in lines for name in line.split()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what the Dockerfile copies."""
    copy = tmp_path_factory.mktemp("sources")
    for name in copied():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    ran(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", copy / "dist", cwd=copy)
    (built,) = (copy / "dist").glob("aoray-*-py3-none-any.whl")
    return built


def test_the_wheel_holds_every_module_and_what_is_read_at_run_time(wheel: Path) -> None:
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "aoray").rglob("*.py")}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("aoray/")}
    assert held == there | READ_AT_RUN_TIME


def test_the_demo_runs_from_an_empty_directory(wheel: Path, tmp_path: Path) -> None:
    home, empty = tmp_path / "environment", tmp_path / "empty"
    empty.mkdir()
    venv.create(home, symlinks=True)
    python = home / "bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    ran(*pip, "install", "--no-index", "--no-deps", wheel, cwd=empty)
    site = Path(ran(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=empty)[:-1])
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    assert ran(python, "-c", "import aoray; print(aoray.__file__)", cwd=empty).startswith(str(site))
    said = ran(home / "bin/aoray", "demo", cwd=empty)
    assert "ready in" in said and "Stopped." in said, said
    assert not list(empty.iterdir())


def pins(lock: str) -> dict[str, str]:
    """The version of each package in a lock file, with its hashes."""
    parts = re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text(), flags=re.M)
    found = (part.partition("==") for part in parts if "==" in part.partition("\n")[0])
    return {
        name: version.split()[0] + "".join(sorted(re.findall("sha256:[0-9a-f]+", version)))
        for name, _, version in found
    }


def test_the_container_has_what_the_tests_ran_with_and_no_tool() -> None:
    runtime, tested = pins("runtime.lock"), pins("requirements.lock")
    assert runtime.items() <= tested.items()
    assert {"ray", "wasmtime", "fastapi"} <= runtime.keys() and not {"pytest", "mypy"} & runtime.keys()
    setuptools = re.search(r"setuptools==(\S+)", DOCKERFILE)
    assert setuptools and tested["setuptools"].startswith(setuptools[1])


def test_the_container_is_pinned_and_not_of_root() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    images += [service["image"] for service in COMPOSE.values() if "image" in service]
    assert all(re.search(r":.*\d+\.\d+|:RELEASE\.", image) for image in images), images
    stage = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert stage.index("USER aoray") < stage.index("ENTRYPOINT") and "USER root" not in stage
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*" and {f"!{name}" for name in copied()} <= set(ignored)
    assert all("healthcheck" in COMPOSE[name] for name in ("postgres", "s3"))


async def answer(computer: LocalComputer) -> str:
    async with Client(computer.url, generate_ed25519()) as client:
        process = await client.spawn()
        message = await client.send(process, action="Eval", data="return 6 * 7")
        return str((await client.result(process, message))["Output"]["data"])


def test_the_computer_of_compose_works_and_its_health_is_seen(
    postgres: PostgresServer, s3: S3Server, tmp_path: Path
) -> None:
    settings = {
        name: value for name, value in COMPOSE["aoray"]["environment"].items() if name[:6] == "AORAY_"
    }
    assert settings.keys() == {"AORAY_STORE", "AORAY_FILES"}
    elsewhere = s3.new_uri()
    endpoint = unquote(elsewhere.rpartition("=")[2])
    httpx.put(f"{endpoint}/aoray").raise_for_status()  # as the service `bucket` does
    files = settings["AORAY_FILES"].replace("s3:9000", endpoint.removeprefix("http://"))
    store = settings["AORAY_STORE"].replace("postgres/aoray", postgres.new_url().partition("@")[2])
    environment = CREDENTIALS | {"AORAY_FILES": files, "AORAY_STORE": store}
    (check,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (.*)$", DOCKERFILE, re.M)
    with LocalComputer(tmp_path / "data", environment=environment) as computer:
        command = [sys.executable, *json.loads(check.replace("4000", str(computer.port)))[1:]]
        ran(*command, cwd=tmp_path)
        assert asyncio.run(answer(computer)) == "42"
        assert httpx.get(f"{endpoint}/aoray?list-type=2&prefix=files/modules").text.count("<Key>")
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode, "the check does not see that it is gone"
