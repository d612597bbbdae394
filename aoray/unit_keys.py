"""The keys of a data directory as `aoray up` and `aoray keys` handle them: made once, kept, never exchanged.

At a start, before anything is signed. A directory without a log gets the keys that it lacks. One that has a
log is bound to the keys that signed it: what is missing or changed is refused, in words, and nothing is
written. The addresses are in `units.json` (keyfiles.py); the scheduler's is also in every assignment, so it
is known of directories that an earlier version made.

On failure: `ClientError` that names the unit, the file and the address that is expected.
"""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

from aoray.errors import ClientError
from aoray.keyfiles import KEY_NAMES, RESTORE, Held, KeyName, Units, load, load_held, load_or_make, units_of
from aoray.keyfiles import write_units as write
from aoray.protocol.items import parse
from aoray.scheduler.reader import log_path
from aoray.scheduler.stores import open_log
from aoray.settings import Settings


def now() -> str:
    """This second, as it is written down."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def keep_keys(settings: Settings) -> None:
    """Every key is there before an actor asks for it, and is the one that the log knows."""
    units, log = units_of(settings.data), scheduler_of_log(settings)
    if log is None:  # nobody depends on them yet
        for name in KEY_NAMES:
            address = load_or_make(settings.keys_directory / f"{name}.json").address
            if name not in units or units[name][-1].address != address:
                units[name] = [Held(address, now())]
    else:
        check_keys(settings, units, log)
        for name in KEY_NAMES:
            units.setdefault(name, [Held(load(settings.keys_directory / f"{name}.json").address, now())])
    if units != units_of(settings.data):
        write(settings.data, units)


def check_keys(settings: Settings, units: Units, log: str) -> None:
    """ClientError, unless the keys are those of a directory whose log `log` signed last."""
    expected = expected_addresses(units, log)
    missing = [name for name in KEY_NAMES if not (settings.keys_directory / f"{name}.json").exists()]
    if missing:
        whose = ", ".join(f"{name} ({expected[name]})" if name in expected else name for name in missing)
        raise ClientError(
            f"{settings.data} has a log, and these keys of its computer are missing in"
            f" {settings.keys_directory}: {whose}",
            hint=RESTORE,
        )
    for name, address in expected.items():
        load_held(settings.keys_directory / f"{name}.json", name, address)


def expected_addresses(units: Units, log: str | None) -> dict[KeyName, str]:
    """What each unit's address must be, as far as it is known; `log` is the scheduler that signed it."""
    known = {name: held[-1].address for name, held in units.items()}
    return known | ({"scheduler": log} if log and "scheduler" not in known else {})


def scheduler_of_log(settings: Settings) -> str | None:
    """The address that signed the newest assignment; None if there is no log, or nothing in it."""
    newest: tuple[int, str] | None = None
    for index in range(settings.shards):
        if settings.store or log_path(settings, index).exists():
            with closing(open_log(settings, index)) as log:
                if raw := log.last_assignment():
                    newest = max(newest or (0, ""), (log.last_timestamp(), parse(raw).address))
    return newest[1] if newest else None
