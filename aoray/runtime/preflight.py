"""Checks before a computer starts, and before Ray is imported, which takes a second: invalid settings, ports
in use, a data directory that can't be written, a full disk, damaged files, unusable keys, a Ray cluster or a
store that can't be reached. The checks create no file and no directory, so a mistyped option leaves nothing
behind.

On failure: `ClientError` for what the operator can change, `Unavailable` for what does not answer. `sentence`
turns any other error of the start into one with a readable text.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aoray.arweave.local.wallets import read_balances
from aoray.errors import AorayError, ClientError, Unavailable
from aoray.limits import RAY_CONNECT_SECONDS_MAX, RAY_JOIN_SECONDS_MAX
from aoray.settings import Settings
from aoray.storage import durable_files
from aoray.storage.factory import check_reached
from aoray.storage.key_files import KEY_NAMES, load, load_wallet, private
from aoray.storage.sql import DATABASE_ERRORS, check_database
from aoray.web.rate_limit import networks

PORT_HINT = (
    "If another computer is running, use another --port (five in a row are used)."
    " Otherwise check that --host is an address of this machine."
)


def check(settings: Settings) -> None:
    """Raise `ClientError` or `Unavailable` if the computer could not work with these settings."""
    settings.check()
    networks(settings.trusted_proxies)
    check_arweave(settings)
    check_ports(settings)
    if settings.ray_address:
        check_ray(settings.ray_address)
    check_data(settings)
    check_keys_found(settings)
    check_reached(settings)


def check_ports(settings: Settings) -> None:
    """Raise `ClientError` if another program uses one of the ports."""
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
    """Raise `ClientError` if the data directory can't be written, its disk is full, or its files are
    damaged."""
    data = settings.data
    check_directory(data, "--data")
    if fault := durable_files.disk_fault(data):
        raise ClientError(fault, hint="Make room, or give another directory with --data.")
    for database in sorted(data.glob("*.sqlite")):
        check_database(database)
    note = data / "shards"
    if note.exists() and not note.read_text().strip().isdecimal():
        raise ClientError(
            f"{note} does not say a number of shards",
            hint=f"Restore this file; other files in {data} were not changed.",
        )


def check_directory(path: Path, option: str) -> None:
    """Raise `ClientError` if a directory can't be written or made. `option` is the option that names it."""
    if fault := durable_files.write_fault(path):
        raise ClientError(f"can't write in {path}: {fault}", hint=f"Give another directory with {option}.")


def check_keys_found(settings: Settings) -> None:
    """Raise `ClientError` if the directory of keys can't be written, or a key in it can't be used."""
    check_directory(settings.keys_directory, "--keys")
    for name in KEY_NAMES:
        path = settings.keys_directory / f"{name}.json"
        if path.exists():
            load(path)


def check_ray(address: str) -> None:
    """Raise `Unavailable` if nothing listens at an address (`host:port`), and `ClientError` if it is not an
    address."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto" or (not host and not port.isdecimal()):
        return
    if not port.isdecimal():
        raise ClientError(
            f"--ray-address {address!r} is not host:port",
            hint="Write host:port, or `auto` on one of its nodes.",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=RAY_CONNECT_SECONDS_MAX).close()
    except (OSError, OverflowError) as error:
        raise Unavailable(
            f"no Ray cluster is reached by --ray-address {address}: {error}",
            hint="Check that it runs (`ray status`).",
        ) from error


@contextmanager
def joining(address: str) -> Iterator[None]:
    """Bound the time in which Ray joins a cluster. A server that does not answer would block `ray.init`
    forever, and nothing in this OS process can interrupt it; so the process prints a sentence and ends."""

    def give_up() -> None:
        with contextlib.suppress(OSError):
            text = f"aoray: no Ray cluster is reached by --ray-address {address}: it does not answer\n"
            os.write(2, (text + "       Check that it runs (`ray status`).\n").encode())
        os._exit(1)

    timer = threading.Timer(RAY_JOIN_SECONDS_MAX, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def sentence(error: Exception) -> AorayError:
    """Return any error of the start as an `AorayError` with a readable text."""
    if isinstance(error, AorayError):
        return error
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or text
    elif isinstance(error, DATABASE_ERRORS):
        text = f"a database can't be read: {text}"
    return Unavailable(f"the computer can't start: {text}", hint="AORAY_LOG_LEVEL=debug says more.")


def check_arweave(settings: Settings) -> None:
    """Raise `ClientError` if the shards could not work with these settings of Arweave."""
    if settings.publishes and not settings.gateway_url:
        raise ClientError(
            "a bundler or a wallet needs a gateway, where what was posted can be read",
            hint="Name one with --gateway-url or AORAY_GATEWAY_URL, such as https://arweave.net.",
        )
    if settings.arweave_wallet:
        load_wallet(Path(settings.arweave_wallet))
    if settings.balances and settings.gateway_url:
        raise ClientError(
            "--balances is for the embedded Arweave, and --gateway-url names another",
            hint="Leave out --balances, or --gateway-url.",
        )
    if settings.balances:
        read_balances(Path(settings.balances))


def check_shard_count(settings: Settings) -> None:
    """Raise `ClientError` if the number of shards differs from that of the first start, since it decides
    which log a process is in."""
    note = settings.data / "shards"
    if not note.exists():
        durable_files.write_atomic(note, str(settings.shards).encode())
    if (first := int(note.read_text())) != settings.shards:
        raise ClientError(
            f"{settings.data} was made with {first} shards, not {settings.shards}",
            hint=f"Set AORAY_SHARDS={first}, or use another --data.",
        )


def private_keys(settings: Settings) -> dict[str, bytes]:
    """Return the private keys with which actors on other nodes sign."""
    found = {name: private(settings.keys_directory / f"{name}.json") for name in KEY_NAMES}
    return found | ({"wallet": private(Path(settings.arweave_wallet))} if settings.arweave_wallet else {})
