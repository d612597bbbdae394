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

from aoray.cli.context import Group
from aoray.cli.setting_options import setting_options
from aoray.settings import Settings

PASSPHRASE = click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File whose first line is the passphrase of the backup.",
)


def of_a_computer(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name a computer's directories to a command, and give it the settings."""

    @setting_options("data", "keys", "store")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
    @wraps(function)
    def command(data: Path | None, keys: str | None, store: str | None, as_json: bool, **rest: Any) -> None:
        settings = Settings.from_environment(data=data, keys=keys, store=store).resolved()
        function(settings, as_json, **rest)

    return command


@click.group(cls=Group)
def keys() -> None:
    """Show, back up, restore and rotate the computer's own keys: scheduler, messenger, compute unit."""


@keys.command()
@of_a_computer
def show(settings: Settings, as_json: bool) -> None:
    """Print each unit's address, since when it has it, and its key file. Exit code 1 if a key is wrong."""
    from aoray.runtime import unit_keys

    shown = unit_keys.show(settings)
    lines = []
    for each in shown:
        since = f"  since {each.since}" if each.since else ""
        lines.append(f"{each.unit:<10} {each.address or '-'}{since}  {each.file}")
        lines += [f"{'':<10} {earlier}  (until then)" for earlier in reversed(each.earlier)]
        lines += [f"{'':<10} WRONG: {each.fault}"] if each.fault else []
    _say({"units": [each._asdict() for each in shown]}, "\n".join(lines), as_json)
    if any(each.fault for each in shown):
        sys.exit(1)


@keys.command()
@of_a_computer
@click.argument("file", type=click.Path(path_type=Path))
@PASSPHRASE
@click.option("--encrypt", is_flag=True, help="Ask for a passphrase, and encrypt the keys with it.")
def backup(
    settings: Settings, as_json: bool, file: Path, passphrase_file: Path | None, encrypt: bool
) -> None:
    """Write the keys to FILE (mode 0600). Whoever has that file can sign as this computer."""
    from aoray.runtime import unit_keys

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
    """Restore the keys from the backup FILE. A directory that has a log accepts only its own keys."""
    from aoray.runtime import unit_keys

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
    """Give UNIT a new key. The old key signs the hand-over, which the next `aoray up` publishes."""
    from aoray.runtime import unit_keys

    with unit_keys.locked(settings.data, is_new=False):
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
