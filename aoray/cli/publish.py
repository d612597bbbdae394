"""The commands `wallet` and `module publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aoray.cli.context import Context, Group, client_command, parse_tags, tag_option
from aoray.cli.params import Command
from aoray.errors import ClientError


@click.command(cls=Command)
@client_command
@click.option(
    "--type",
    "key_type",
    type=click.Choice(["ed25519", "arweave"]),
    default="ed25519",
    show_default=True,
    help="Key type of a new wallet; arweave is RSA.",
)
def wallet(context: Context, key_type: str) -> None:
    """Print the address of the wallet, and make the wallet if there is none."""
    from aoray.protocol.signatures.arweave import generate_rsa
    from aoray.protocol.signatures.ed25519 import generate_ed25519
    from aoray.storage.key_files import load_or_make

    make = generate_rsa if key_type == "arweave" else generate_ed25519
    address = load_or_make(context.wallet, make).address
    context.say({"address": address, "file": str(context.wallet)}, f"{address}  ({context.wallet})")


@click.group(cls=Group)
def module() -> None:
    """Publish modules, the programs that processes run."""


@module.command()
@client_command
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "module_format",
    default="wasm32-wasi",
    help="The module's Module-Format tag.",
    show_default=True,
)
@click.option("--memory-limit", default="", help="The module's Memory-Limit tag, such as 500-mb.")
@click.option(
    "--compute-limit",
    default="",
    help="The module's Compute-Limit tag: units of fuel for one message (docs/fuel.md). [2 × 10^11]",
)
@tag_option
def publish(
    context: Context,
    file: Path,
    module_format: str,
    memory_limit: str,
    compute_limit: str,
    tags: list[Any],
) -> None:
    """Publish FILE, a module as WASM, WAT text or whatever --format names, on Arweave, and print its id."""
    bounds = [("Memory-Limit", memory_limit), ("Compute-Limit", compute_limit)]
    sent = [*parse_tags([f"{name}={value}" for name, value in bounds if value]), *tags]
    data = read_module(file, module_format)
    published = context.run(lambda client: client.publish_module(data, module_format, sent))
    context.say(
        {"module": published, "bytes": len(data)}, f"published module {published} ({len(data):,} bytes)"
    )


def read_module(file: Path, module_format: str) -> bytes:
    """Return the bytes of a module; WAT text is assembled."""
    from aoray.vm.registry import name_of, virtual_machine

    content = file.read_bytes()
    try:
        return virtual_machine(name_of(module_format, content)).from_file(content, str(file))
    except ClientError as error:
        raise click.BadParameter(error.message + (f". {error.hint}" if error.hint else "")) from error
