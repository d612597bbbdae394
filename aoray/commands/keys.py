"""`aoray keys`: the keys that the computer itself signs with, where they are, in a backup, and back again.

For the machine of `aoray up`, with its `--data` (and `--keys`); nothing is asked of a running computer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
import orjson

from aoray.commands.context import Group
from aoray.settings import Settings

PASSPHRASE = click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Its first line encrypts the keys in the backup.",
)


def of_a_computer(function: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that say which computer it is, and gives the command its settings."""

    @click.option("--data", type=click.Path(path_type=Path), help="Its directory. [aoray-data]")
    @click.option("--keys", help="Directory of its keys. [keys in --data]")
    @click.option("--store", help="Its PostgreSQL, if the log is there.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
    @wraps(function)
    def command(data: Path | None, keys: str | None, store: str | None, as_json: bool, **rest: Any) -> None:
        settings = Settings.from_environment(data=data, keys=keys, store=store).resolved()
        function(settings, as_json, **rest)

    return command


@click.group(cls=Group)
def keys() -> None:
    """The computer's own keys: scheduler, messenger (authority), compute unit."""


@keys.command()
@of_a_computer
def show(settings: Settings, as_json: bool) -> None:
    """Which addresses the units have, since when, and where the keys are. Exit code 1 if one is not right."""
    from aoray import unit_keys

    shown = unit_keys.show(settings)
    lines = []
    for each in shown:
        since = f"  since {each.since}" if each.since else ""
        lines.append(f"{each.unit:<10} {each.address or '-'}{since}  {each.file}")
        lines += [f"{'':<10} {earlier}  (until then)" for earlier in reversed(each.earlier)]
        lines += [f"{'':<10} NOT RIGHT: {each.fault}"] if each.fault else []
    _say({"units": [each._asdict() for each in shown]}, "\n".join(lines), as_json)
    if any(each.fault for each in shown):
        sys.exit(1)


@keys.command()
@of_a_computer
@click.argument("file", type=click.Path(path_type=Path))
@PASSPHRASE
@click.option("--encrypt", is_flag=True, help="Ask for a passphrase that encrypts the keys.")
def backup(
    settings: Settings, as_json: bool, file: Path, passphrase_file: Path | None, encrypt: bool
) -> None:
    """Write the keys into FILE, for its owner only (mode 0600). Whoever has it signs as this computer."""
    from aoray import unit_keys

    passphrase = _first_line(passphrase_file)
    if encrypt and not passphrase:
        passphrase = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True).encode()
    addresses = unit_keys.backup(settings, file, passphrase)
    how = "encrypted" if passphrase else "NOT encrypted"
    text = "\n".join([f"backup in {file}, {how}", *(f"{k:<10} {v}" for k, v in addresses.items())])
    _say({"file": str(file), "encrypted": bool(passphrase), "addresses": addresses}, text, as_json)


@keys.command()
@of_a_computer
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@PASSPHRASE
def restore(settings: Settings, as_json: bool, file: Path, passphrase_file: Path | None) -> None:
    """Put the keys of the backup FILE back. A directory with a log takes none but its own."""
    from aoray import unit_keys

    found = unit_keys.read_backup(file)
    passphrase = _first_line(passphrase_file)
    if found.get("encrypted") and not passphrase:
        passphrase = click.prompt("Passphrase", hide_input=True).encode()
    with unit_keys.locked(settings.data):
        done = unit_keys.restore(settings, found, passphrase)
    _say({"units": done}, "\n".join(f"{name:<10} {what}" for name, what in done.items()), as_json)


@keys.command()
@of_a_computer
@click.argument("unit", type=click.Choice(["scheduler", "authority", "compute"]))
def rotate(settings: Settings, as_json: bool, unit: Any) -> None:
    """Give UNIT a new key. The old one signs the hand-over, which the next `aoray up` publishes."""
    from aoray import unit_keys

    with unit_keys.locked(settings.data):
        old, new = unit_keys.rotate(settings, unit)
    text = (
        f"{unit} {old.address} hands over to {new.address}\n"
        "Its processes go on with `aoray up`. Make a new backup: an older one does not fit any more."
    )
    _say({"unit": unit, "from": old.address, "to": new.address, "after_ms": new.after_ms}, text, as_json)


def _first_line(file: Path | None) -> bytes:
    if file is None:
        return b""
    line = file.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise click.BadParameter("its first line is empty", param_hint="--passphrase-file")
    return line


def _say(found: dict[str, Any], text: str, as_json: bool) -> None:
    click.echo(orjson.dumps(found).decode() if as_json else text)
