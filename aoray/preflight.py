"""What would keep a computer from starting, said in words before anything is started (and before Ray is
imported, which takes a second): ports that are taken, a data directory that can't be written, a disk that is
full, files that are damaged, a Ray cluster that is not there.

On failure: `ClientError` for what the operator can change, `Unavailable` for what is away. Whatever else goes
wrong at the start becomes a sentence by `sentence`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from aoray import durable
from aoray.errors import AorayError, ClientError, Unavailable
from aoray.limits import RAY_CONNECT_SECONDS_MAX, RAY_JOIN_SECONDS_MAX
from aoray.settings import Settings

PORT_MAX = 65_535
PORT_HINT = (
    "Is another computer running? Give this one its own --port (five in a row are used)."
    " Or is --host no address of this machine?"
)


def check(settings: Settings) -> None:
    """Refuse to start where it can't go well."""
    check_ports(settings)
    check_data(settings)
    if settings.ray_address:
        check_ray(settings.ray_address)


def check_ports(settings: Settings) -> None:
    """Refuse ports that there are not, or that somebody else has."""
    if not 1 <= settings.port <= PORT_MAX - 4:
        raise ClientError(
            f"there is no port {settings.port}, or not all of the next four",
            hint=f"Give a --port from 1 to {PORT_MAX - 4} (five in a row are used).",
        )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    for port in range(settings.port, settings.port + 5):
        if port == settings.port + 1 and settings.gateway_url:
            continue  # no embedded Arweave
        try:
            socket.create_server((settings.host, port), family=family).close()
        except OSError as error:
            raise ClientError(
                f"can't listen on {settings.host}:{port}: {error.strerror}",
                hint=PORT_HINT,
                host=settings.host,
                port=port,
            ) from error


def check_data(settings: Settings) -> None:
    """Refuse a data directory that can't be written, has no room, or whose databases are none."""
    data = settings.data
    try:
        durable.make_directory(data)
        with tempfile.TemporaryFile(dir=data) as probe:
            probe.write(bytes(1024))
            probe.flush()
    except OSError as error:
        raise ClientError(
            f"can't write in {data}: {error.strerror}", hint="Give another directory with --data."
        ) from error
    if fault := durable.disk_fault(data):
        raise ClientError(fault, hint="Make room, or give another directory with --data.")
    for database in sorted(data.glob("*.sqlite")):
        check_database(database)
    note = data / "shards"
    if note.exists() and not note.read_text().strip().isdecimal():
        raise ClientError(
            f"{note} does not say a number of shards",
            hint=f"What is in {data} is as it was; restore that file.",
        )


def check_database(path: Path) -> None:
    """Refuse a file that SQLite can't read the beginning of."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise ClientError(
            f"{path} is damaged, or no database: {error}",
            hint=f"What else is in {path.parent} is as it was; restore that file from a copy.",
        ) from error


def check_ray(address: str) -> None:
    """Refuse an address (`host:port`) where nobody listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto" or (not host and not port.isdecimal()):
        return
    if not port.isdecimal():
        raise ClientError(f"--ray-address {address!r} is no host:port", hint="Or `auto`, on a node of it.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=RAY_CONNECT_SECONDS_MAX).close()
    except (OSError, OverflowError) as error:
        raise Unavailable(
            f"no Ray cluster is reached by --ray-address {address}: {error}", hint="Is it up (`ray status`)?"
        ) from error


@contextmanager
def joining(address: str) -> Iterator[None]:
    """For as long as Ray joins a cluster: a server that does not answer holds it without end, and nothing
    in this process can interrupt it. So the process ends, with a sentence."""

    def give_up() -> None:
        with contextlib.suppress(OSError):
            text = f"aoray: no Ray cluster is reached by --ray-address {address}: it does not answer\n"
            os.write(2, (text + "       Is it up (`ray status`)?\n").encode())
        os._exit(1)

    timer = threading.Timer(RAY_JOIN_SECONDS_MAX, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def sentence(error: Exception) -> AorayError:
    """Any fault of the start, in words."""
    if isinstance(error, AorayError):
        return error
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or text
    elif isinstance(error, sqlite3.Error):
        text = f"a database can't be read: {text}"
    return Unavailable(f"the computer can't start: {text}", hint="AORAY_LOG_LEVEL=debug says more.")
