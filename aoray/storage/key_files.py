"""The computer's own keys on disk: one Ed25519 JWK in each file, readable by its owner only.

The scheduler, the messenger (authority) and the compute unit each sign with a key of their own, kept under
`<data>/keys` (or `--keys`). `aoray up` makes the keys when a data directory is first used
(runtime/unit_keys.py), and records in `<data>/units.json` which address each unit has and had. Signers call
`load_key`.

Invariants: a key file is either complete or missing, and is never replaced by a newly made key. It has mode
0600; a file that others can read is refused, because whoever read it could sign in the unit's name. Once an
address is recorded, a missing key or the key of another address is refused, also by an actor that restarts.

On failure: such files raise `ClientError` with the command that fixes them. A file that is not a JWK raises
`MalformedInput`, which names the file and shows nothing of its content. A file that can't be read raises
`OSError`.
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
    """An address that a unit has, or had until the next address in its list."""

    address: str
    since: str  # ISO 8601, UTC
    hand_over: str = ""  # the signed statement of the previous address that hands over to this one, base64url
    after_ms: int = 0  # everything that this address signs has a later timestamp


Units = dict[KeyName, list[Held]]


def units_of(data: Path) -> Units:
    """Return the addresses of each unit that a data directory records, the newest last. Raises
    `MalformedInput` if the file can't be parsed."""
    try:
        found: dict[KeyName, list[dict[str, Any]]] = orjson.loads((data / UNITS).read_bytes())
        return {name: [Held(**each) for each in found[name]] for name in KEY_NAMES if found.get(name)}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise MalformedInput(f"{data / UNITS} can't be read: {error}", field=UNITS) from error


def write_units(data: Path, units: Units) -> None:
    """Record the addresses of the units, durably."""
    found = {name: [each._asdict() for each in held] for name, held in units.items()}
    durable_files.write_atomic(data / UNITS, orjson.dumps(found, option=orjson.OPT_INDENT_2))


def schedulers(settings: Settings) -> tuple[Held, ...]:
    """Return the addresses that this computer's scheduler has had, the newest last."""
    if settings.cluster is not None:
        return tuple(Held(*each) for each in settings.cluster.schedulers)
    return tuple(units_of(settings.data).get("scheduler", ()))


def load_or_make(path: Path, generate: Callable[[], KeySigner] = generate_ed25519) -> KeySigner:
    """Return the key in `path`; if there is none, make a key with `generate` and store it there."""
    with contextlib.suppress(FileNotFoundError):
        return load(path)
    publish(path, orjson.dumps(signer_to_jwk(generate())))
    return load(path)


def load_key(settings: Settings, name: KeyName) -> KeySigner:
    """Return one of the computer's own keys.

    `aoray up` makes the keys and passes them to the actors on other nodes of a cluster, or they are on every
    node (`--keys`). An actor must not make a key, since it would sign as somebody else. Only where no
    computer was started (tests, tools) does the first caller make the key. Raises `ClientError` if the key is
    missing or not the recorded one.
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
    """Return the key in `path`. Raises `ClientError` if it is missing or does not have this address."""
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
    """Return the key in `path`, of any kind that can sign. Raises `MalformedInput` if the file holds no such
    key."""
    content = private(path)
    try:
        jwk = orjson.loads(content)  # unlike json, orjson refuses deep nesting
    except ValueError:  # its text would show the content of the key
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
        assert isinstance(handed, RsaSigner)  # `aoray up` checked it
        return handed
    return load_wallet(Path(settings.arweave_wallet)) if settings.arweave_wallet else None


def load_wallet(path: Path) -> RsaSigner:
    """Return the Arweave wallet in `path`. Raises `ClientError` if it can't be read, others can read it, or
    it has no RSA key."""
    try:
        wallet = load(path)
    except OSError as error:
        raise ClientError(f"the wallet {path} can't be read: {error.strerror}") from error
    if not isinstance(wallet, RsaSigner):
        raise ClientError(f"{path} is not an Arweave wallet: it has no RSA key")
    return wallet


def private(path: Path) -> bytes:
    """Return the content of a file. Raises `ClientError` if others than its owner can read it."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & OTHERS:
            raise ClientError(
                f"{path} is a private key that others may read (mode {mode:04o})",
                hint=f"Let only its owner read it: chmod 600 {path}",
                field=str(path),
            )
        return file.read()


def publish(path: Path, content: bytes) -> None:
    """Write a new file durably, with mode 0600. If the file exists, it stays as it is."""
    durable_files.make_directory(path.parent, mode=0o700)
    durable_files.write_atomic(path, content, exclusive=True)
