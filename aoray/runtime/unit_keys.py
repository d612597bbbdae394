"""The keys of a data directory, as `aoray up` and `aoray keys` handle them: made once, kept, never exchanged.

At a start, before anything is signed, a directory without a log gets the keys that it lacks. A directory with
a log is bound to the keys that signed it: a missing or changed key is refused with an explanation, and
nothing is written. The addresses are in `units.json` (storage/key_files.py). The scheduler's address is also
in every assignment, so it is known for directories that an earlier version made.

A backup is one JSON file with the addresses of each unit and its key as PEM. A key is restored only where it
is the right one; a key file that is replaced is kept beside it, under a name with its address.

On failure: `ClientError` that names the unit, the file and the expected address.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from aoray.errors import ClientError, MalformedInput
from aoray.protocol.handovers import hand_over
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.signatures.jwk import signer_from_pem, signer_to_jwk, signer_to_pem
from aoray.protocol.signed import ANS104, parse
from aoray.settings import Settings
from aoray.storage import durable_files
from aoray.storage.factory import claim_store, store_of
from aoray.storage.key_files import (
    KEY_NAMES,
    RESTORE,
    Held,
    KeyName,
    KeySigner,
    Units,
    load,
    load_held,
    load_or_make,
    private,
    publish,
    units_of,
    write_units,
)
from aoray.storage.log import Log
from aoray.util.clock import clock_ms

FORMAT = "aoray-keys-1"
WHICH = "Check --data."


class Shown(NamedTuple):
    """What `aoray keys show` prints about a unit."""

    unit: str
    address: str
    since: str
    file: str
    fault: str  # "" if the file holds that key
    earlier: list[str]


@contextmanager
def locked(data: Path, *, is_new: bool = True) -> Iterator[None]:
    """Hold the data directory for this OS process alone; the kernel releases it when the process ends.

    With `is_new`, the directory is made if it does not exist; otherwise `ClientError` is raised if no
    computer has run on it. `ClientError` is also raised if another process holds the directory.
    """
    if is_new:
        durable_files.make_directory(data)
    elif not (data / "lock").exists():
        raise ClientError(f"no computer has run on {data} yet", hint=WHICH)
    with (data / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ClientError(
                f"{data} is in use by another computer",
                hint="Stop that computer, or use another --data and another --port.",
            ) from error
        yield


def now() -> str:
    """Return the present time to the second, in the form of `units.json`: ISO 8601, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def keep_keys(settings: Settings) -> None:
    """Make sure that every key exists, before an actor needs it, and is the one that the log knows. Raises
    `ClientError`."""
    finish_rotation(settings)
    log = scheduler_of_log(settings)
    units = units_for(settings, log)
    if log is None:  # nothing depends on the keys yet
        for name in KEY_NAMES:
            address = load_or_make(path_of(settings, name)).address
            if name not in units or units[name][-1].address != address:
                units[name] = [Held(address, now())]
    else:
        check_keys(settings, units, log)
        for name in KEY_NAMES:
            units.setdefault(name, [Held(load(path_of(settings, name)).address, now())])
    check_distinct(settings, {name: held[-1].address for name, held in units.items()})
    if units != units_of(settings.data):
        write_units(settings.data, units)


def units_for(settings: Settings, log: str | None) -> Units:
    """Return the recorded addresses of the units, or none if the log belongs to another computer, whose files
    were put into a directory with keys of its own. Then only the log says who its scheduler is."""
    units = units_of(settings.data)
    is_theirs = log is not None and log not in {held.address for held in units.get("scheduler", ())}
    return {} if is_theirs else units


def check_keys(settings: Settings, units: Units, log: str | None) -> None:
    """Raise `ClientError` unless the keys are those of this directory. `log` is the address that signed the
    log last, if there is one."""
    expected = expected_addresses(units, log)
    missing = [name for name in KEY_NAMES if not (path_of(settings, name)).exists()]
    if missing:
        whose = ", ".join(f"{name} ({expected[name]})" if name in expected else name for name in missing)
        raise ClientError(
            f"these keys, which the log in {settings.data} is bound to, are missing in"
            f" {settings.keys_directory}: {whose}",
            hint=RESTORE,
        )
    for name, address in expected.items():
        load_held(path_of(settings, name), name, address)


def check_distinct(settings: Settings, addresses: Mapping[KeyName, str]) -> None:
    """Raise `ClientError` if two units have the same key: what the messenger signs for guests must not be
    signed by the key that orders messages or attests results (docs/signing.md)."""
    owners: dict[str, KeyName] = {}
    for name, address in addresses.items():
        if (other := owners.setdefault(address, name)) != name:
            raise ClientError(
                f"{other}.json and {name}.json in {settings.keys_directory} are the same key",
                hint="Each unit signs with a key of its own: give one of the two another key.",
            )


def expected_addresses(units: Units, log: str | None) -> dict[KeyName, str]:
    """Return the address that each unit must have, as far as it is known; `log` is the scheduler that signed
    the log."""
    known = {name: held[-1].address for name, held in units.items()}
    return known | ({"scheduler": log} if log and "scheduler" not in known else {})


def scheduler_of_log(settings: Settings) -> str | None:
    """Return the address that signed the newest assignment; None if there is no log, or nothing in it."""
    newest: tuple[int, str] | None = None
    for log in _logs(settings):
        if raw := log.last_assignment():
            newest = max(newest or (0, ""), (log.last_timestamp(), parse(raw, ANS104).address))
    return newest[1] if newest else None


def _logs(settings: Settings) -> Iterator[Log]:
    """Yield the log of each shard that has one, open while it is used."""
    store = store_of(settings)
    for index in range(_shards(settings)):
        if store.has_log(index):
            with closing(store.open_log(index)) as log:
                yield log


def _shards(settings: Settings) -> int:
    """Return the number of shards with which the directory was made."""
    note = settings.data / "shards"
    return int(note.read_text()) if note.exists() else settings.shards


def path_of(settings: Settings, name: str) -> Path:
    """Return the file of a unit's key."""
    return settings.keys_directory / f"{name}.json"


def show(settings: Settings) -> list[Shown]:
    """Return each unit's address, since when it has it, and whether its key can be used."""
    log, shown = scheduler_of_log(settings), list[Shown]()
    units = units_for(settings, log)
    expected = expected_addresses(units, log)
    for name in KEY_NAMES:
        held = units.get(name) or [Held(expected.get(name, ""), "")]
        address, fault = held[-1].address, ""
        try:
            found = load_held(path_of(settings, name), name, address or load(path_of(settings, name)).address)
            address = found.address
        except FileNotFoundError:
            fault = "it is missing" if log else "there is none yet: `aoray up` makes it"
        except (ClientError, OSError) as error:
            fault = str(getattr(error, "message", error))
        earlier = [each.address for each in held[:-1]]
        shown.append(Shown(name, address, held[-1].since, str(path_of(settings, name)), fault, earlier))
    return shown


def backup(settings: Settings, file: Path, passphrase: bytes = b"") -> dict[str, str]:
    """Write all keys into a new file with mode 0600, and return their addresses. Raises `ClientError`."""
    if file.exists():
        raise ClientError(f"{file} exists already", hint="A backup is never overwritten: use another name.")
    units = units_for(settings, scheduler_of_log(settings))
    signers = {name: load_key_file(settings, name, units) for name in KEY_NAMES}
    kept = {
        name: {
            "held": [each._asdict() for each in units.get(name, [Held(signer.address, "")])],
            "pem": signer_to_pem(signer, passphrase),
        }
        for name, signer in signers.items()
    }
    found = {"format": FORMAT, "made": now(), "encrypted": bool(passphrase), "units": kept}
    durable_files.write_atomic(file, orjson.dumps(found, option=orjson.OPT_INDENT_2))
    return {name: signer.address for name, signer in signers.items()}


def load_key_file(settings: Settings, name: KeyName, units: Units) -> KeySigner:
    """Return the key of a unit from its file. Raises `ClientError` if it is missing or not the recorded
    one."""
    path = path_of(settings, name)
    if name in units:
        return load_held(path, name, units[name][-1].address)
    try:
        return load(path)
    except FileNotFoundError as error:
        raise ClientError(f"{path} does not exist", hint="Check --data (or --keys).") from error


def read_backup(file: Path) -> dict[str, Any]:
    """Return the contents of a backup, with keys still encrypted if they are. Raises `ClientError` if the
    file is not a backup, or others can read it."""
    try:
        found = orjson.loads(private(file))
        if found["format"] != FORMAT or not isinstance(found["units"], dict):
            raise ValueError(found["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedInput(f"{file} is not a backup of `aoray keys backup`", field=str(file)) from error
    return dict(found)


def restore(settings: Settings, found: Mapping[str, Any], passphrase: bytes = b"") -> dict[str, str]:
    """Put the keys of a backup into their files, and return what was done for each unit.

    Raises `ClientError`, without changing anything, if the directory has a log and one of the keys is not its
    unit's.
    """
    signers, log = _signers(found, passphrase), scheduler_of_log(settings)
    units = units_for(settings, log)
    expected = expected_addresses(units, log)
    for name, signer in signers.items() if log else ():
        if expected.get(name, signer.address) not in _had(found, name, signer, units):
            raise ClientError(
                f"the backup's {name} is {signer.address}, and that of the log in {settings.data} is"
                f" {expected[name]}: nothing was changed",
                hint="If the key was rotated after this backup, use a later backup. Otherwise check --data.",
            )
    done: dict[str, str] = {name: _put(path_of(settings, name), signer) for name, signer in signers.items()}
    for name, signer in signers.items():
        if name not in units or units[name][-1].address != signer.address:
            held = [Held(**each) for each in found["units"][name]["held"]]
            units[name] = held if held[-1].address == signer.address else [Held(signer.address, now())]
    write_units(settings.data, units)
    return done


def _had(found: Mapping[str, Any], name: KeyName, signer: KeySigner, units: Units) -> set[str]:
    """Return the addresses that a backup has for a unit. Without `units.json`, the log may know only an
    earlier one."""
    earlier = {each["address"] for each in found["units"][name]["held"]}
    return {signer.address} if name in units else {signer.address, *earlier}


def rotate(settings: Settings, name: KeyName) -> tuple[Held, Held]:
    """Give a unit a new key, sign the hand-over with the old key, and return both entries.

    The file of the old key is kept beside the new one. On return everything is on disk; the next start
    publishes the hand-over. After a crash either the old or the new key counts, and `finish_rotation`
    completes the change. Raises `ClientError`.
    """
    if name == "authority":
        raise ClientError(
            "the messenger's key can't be rotated: each process says in its spawn which messengers it trusts",
            hint="A process's owner may name another messenger to it; docs/keys.md says more.",
        )
    finish_rotation(settings)
    log = scheduler_of_log(settings)
    units = units_for(settings, log)
    if name not in units:
        raise ClientError(f"no computer has run on {settings.data} yet", hint=WHICH)
    check_keys(settings, units, log)
    old, new = load_key_file(settings, name, units), generate_ed25519()
    with claim_store(replace(settings, shards=_shards(settings)), units["scheduler"][0].address):
        ms = max(clock_ms(), _latest_ms(settings), units[name][-1].after_ms)
        statement = b64url_encode(hand_over(old, name, new.address, ms).raw)
        publish(_next_path(settings, name), orjson.dumps(signer_to_jwk(new)))
        units[name].append(Held(new.address, now(), statement, ms))
        write_units(settings.data, units)  # from here on the unit has the new key
    finish_rotation(settings)
    return units[name][-2], units[name][-1]


def finish_rotation(settings: Settings) -> None:
    """Put a new key into its place if the unit handed over to it, and remove it otherwise."""
    units = units_of(settings.data)
    for name in KEY_NAMES:
        coming, path = _next_path(settings, name), path_of(settings, name)
        if coming.exists():
            signer = load(coming)
            if name in units and units[name][-1].address == signer.address:
                _put(path, signer)
            coming.unlink()
            durable_files.sync_directory(path.parent)


def _next_path(settings: Settings, name: str) -> Path:
    return settings.keys_directory / f"{name}.next.json"


def _latest_ms(settings: Settings) -> int:
    return max((log.latest_ms() for log in _logs(settings)), default=0)


def _signers(found: Mapping[str, Any], passphrase: bytes) -> dict[KeyName, KeySigner]:
    try:
        pems = {name: str(found["units"][name]["pem"]) for name in KEY_NAMES if name in found["units"]}
    except (KeyError, TypeError) as error:
        raise MalformedInput("the backup lacks a key", field="units") from error
    return {name: signer_from_pem(pem, passphrase) for name, pem in pems.items()}


def _put(path: Path, signer: KeySigner) -> str:
    """Write a key into its file; a different key there is kept under another name. Return what was done."""
    said = "restored"
    try:
        address = load(path).address
    except FileNotFoundError:
        address = ""
    except MalformedInput:
        address = "unreadable"
    if address == signer.address:
        return "was there"
    if address:
        kept = path.with_name(f"{path.stem}.{address}.json")
        path.rename(kept)
        said = f"restored; the key that was there is now {kept}"
    publish(path, orjson.dumps(signer_to_jwk(signer)))
    return said
