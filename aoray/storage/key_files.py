"""The computer's own keys on disk: one Ed25519 JWK a file, readable by its owner only.

Purpose: the scheduler, the messenger (authority) and the compute unit each sign with a key of their own, kept
under `<data>/keys` (or `--keys`). `aoray up` makes them when a data directory is first used
(runtime/unit_keys.py), and writes down in `<data>/units.json` which address each unit has, and had. Whoever
signs asks `load_key`.

Invariants: a key file is either whole or not there, and is never replaced by one that was made here. It has
mode 0600, and one that others may read is not used: who could read it can sign in its name. Once an address
is written down, a key that is missing or another's is refused, also by an actor that starts again. On
failure: such files give `ClientError` with the command that mends it; one that is not a JWK gives
`MalformedInput` that names the file, and nothing of what is in it; an unreadable one gives `OSError` (a
person has to look at it).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import orjson

from aoray.errors import ClientError, MalformedInput
from aoray.protocol.signatures.arweave import RsaSigner
from aoray.protocol.signatures.ed25519 import Ed25519Signer, generate_ed25519
from aoray.protocol.signatures.ethereum import EthereumSigner
from aoray.protocol.signatures.jwk import signer_from_jwk, signer_to_jwk
from aoray.settings import Settings
from aoray.storage import durable_files

OTHERS = stat.S_IRWXG | stat.S_IRWXO
KeySigner = Ed25519Signer | RsaSigner | EthereumSigner
KeyName = Literal["scheduler", "authority", "compute"]
KEY_NAMES: tuple[KeyName, ...] = get_args(KeyName)
UNITS = "units.json"
RESTORE = "Restore it from a backup: aoray keys restore FILE. Or start with another --data, without this log."


class Held(NamedTuple):
    """An address that a unit has, or had until the next one in its list."""

    address: str
    since: str  # ISO 8601, UTC
    hand_over: str = ""  # the statement by which the address before handed over to this one, base64url
    after_ms: int = 0  # what this address signs has a later timestamp than this


Units = dict[KeyName, list[Held]]


def units_of(data: Path) -> Units:
    """Return the addresses of each unit that are written down in a data directory, the newest last."""
    try:
        found: dict[KeyName, list[dict[str, Any]]] = orjson.loads((data / UNITS).read_bytes())
        return {name: [Held(**each) for each in found[name]] for name in KEY_NAMES if found.get(name)}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise MalformedInput(f"{data / UNITS} can't be read: {error}", field=UNITS) from error


def write_units(data: Path, units: Units) -> None:
    """Write down the addresses of the units, durably."""
    found = {name: [each._asdict() for each in held] for name, held in units.items()}
    durable_files.write_atomic(data / UNITS, orjson.dumps(found, option=orjson.OPT_INDENT_2))


def schedulers(settings: Settings) -> tuple[Held, ...]:
    """Return the addresses that this computer's scheduler has had, the newest last."""
    if settings.cluster is not None:
        return tuple(Held(*each) for each in settings.cluster.schedulers)
    return tuple(units_of(settings.data).get("scheduler", ()))


def load_or_make(path: Path, generate: Callable[[], KeySigner] = generate_ed25519) -> KeySigner:
    """Return the key in `path`; if there is none, make one (Ed25519 unless `generate` makes others) and
    put it there."""
    with contextlib.suppress(FileNotFoundError):
        return load(path)
    publish(path, orjson.dumps(signer_to_jwk(generate())))
    return load(path)


def load_key(settings: Settings, name: KeyName) -> KeySigner:
    """Return one of the computer's own keys.

    `aoray up` has made it, and hands it to the actors on other nodes of a cluster; or it has to be there
    (`--keys`), since an actor that made a key of its own would sign as somebody else. Where no computer was
    started (tests, tools), the first caller makes it.
    """
    if settings.cluster is not None and name in settings.cluster.keys:
        return signer_from_jwk(orjson.loads(settings.cluster.keys[name]))
    path = settings.keys_directory / f"{name}.json"
    if name in (units := units_of(settings.data)):
        return load_held(path, name, units[name][-1].address)
    if not settings.store:
        return load_or_make(path)
    try:
        return load(path)
    except FileNotFoundError as error:
        raise ClientError(
            f"{path} is not on this node",
            hint="Put the computer's keys there, mode 0600, as on the node of `aoray up` (AORAY_KEYS).",
        ) from error


def load_held(path: Path, name: str, address: str) -> KeySigner:
    """Return the key of that address. Raises `ClientError` if it is missing, or another is in its place."""
    try:
        found = load(path)
    except FileNotFoundError as error:
        raise ClientError(f"the {name} key {path} is missing: that of {address}", hint=RESTORE) from error
    if found.address != address:
        raise ClientError(
            f"the {name} key {path} is that of {found.address}, and the log's {name} is {address}",
            hint=RESTORE,
        )
    return found


def load(path: Path) -> KeySigner:
    """Return the key in `path`, of any kind that signs."""
    content = private(path)
    try:
        jwk = orjson.loads(content)  # unlike json, it refuses what is nested too deeply
    except ValueError:  # which would show the content
        raise MalformedInput(f"{path} is not a JSON web key", field=str(path)) from None
    if not isinstance(jwk, dict):
        raise MalformedInput(f"{path} is not a JSON web key", field=str(path))
    try:
        return signer_from_jwk(jwk)
    except MalformedInput as error:
        raise MalformedInput(f"{path}: {error.message}", field=str(path)) from None


def arweave_wallet(settings: Settings) -> RsaSigner | None:
    """Return the wallet that pays for uploads to Arweave, if there is one."""
    if settings.cluster is not None and "wallet" in settings.cluster.keys:
        handed = signer_from_jwk(orjson.loads(settings.cluster.keys["wallet"]))
        assert isinstance(handed, RsaSigner)  # it was looked at before it was handed over
        return handed
    return load_wallet(Path(settings.arweave_wallet)) if settings.arweave_wallet else None


def load_wallet(path: Path) -> RsaSigner:
    """Return an Arweave wallet that only its owner can read. Raises `ClientError` if it is anything else."""
    try:
        wallet = load(path)
    except OSError as error:
        raise ClientError(f"the wallet {path} can't be read: {error.strerror}") from error
    if not isinstance(wallet, RsaSigner):
        raise ClientError(f"{path} is not an Arweave wallet: it has no RSA key")
    return wallet


def private(path: Path) -> bytes:
    """Return the contents of a file that only its owner may read. Raises `ClientError` if others may read
    it."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & OTHERS:
            raise ClientError(
                f"{path} is a private key that others may read (mode {mode:04o})",
                hint=f"Make it yours alone: chmod 600 {path}",
                field=str(path),
            )
        return file.read()


def publish(path: Path, content: bytes) -> None:
    """Make `path` appear whole, with mode 0600, unless another writer was faster (whose file then stays)."""
    durable_files.make_directory(path.parent, mode=0o700)
    durable_files.write_atomic(path, content, exclusive=True)
