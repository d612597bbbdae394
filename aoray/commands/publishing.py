"""What there is before any process: `wallet`, and `module publish`."""

from __future__ import annotations

from pathlib import Path

import click

from aoray.commands.context import Context, Group, client_command, parse_tags, tag_option
from aoray.words import Command


@click.command(cls=Command)
@client_command
@click.option(
    "--type",
    "key_type",
    type=click.Choice(["ed25519", "arweave"]),
    default="ed25519",
    show_default=True,
    help="The kind of a wallet that is made; arweave is RSA.",
)
def wallet(context: Context, key_type: str) -> None:
    """This wallet's address; the wallet is made if it is not there."""
    from aoray.keyfiles import load_or_make
    from aoray.protocol.keys import generate_ed25519, generate_rsa

    make = generate_rsa if key_type == "arweave" else generate_ed25519
    address = load_or_make(context.wallet, make).address
    context.say({"address": address, "file": str(context.wallet)}, f"{address}  ({context.wallet})")


@click.group(cls=Group)
def module() -> None:
    """Modules: the WASM programs that processes run."""


@module.command()
@client_command
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format", "module_format", default="wasm32-wasi", help="Its Module-Format tag.", show_default=True
)
@click.option("--memory-limit", default="", help="Such as 500-mb.")
@click.option("--compute-limit", default="", help="Instructions for one message.")
@tag_option
def publish(
    context: Context,
    file: Path,
    module_format: str,
    memory_limit: str,
    compute_limit: str,
    tags: tuple[str, ...],
) -> None:
    """Put the module FILE (WASM, or WAT text) on Arweave."""
    bounds = [("Memory-Limit", memory_limit), ("Compute-Limit", compute_limit)]
    sent = parse_tags([*(f"{name}={value}" for name, value in bounds if value), *tags])
    wasm = read_module(file)
    published = context.run(lambda client: client.publish_module(wasm, module_format, sent))
    context.say(
        {"module": published, "bytes": len(wasm)}, f"published module {published} ({len(wasm):,} bytes)"
    )


def read_module(file: Path) -> bytes:
    """The module's bytes; WAT text is assembled."""
    content = file.read_bytes()
    if content.startswith(b"\0asm"):
        return content
    if file.suffix == ".wat":
        import wasmtime

        try:
            return bytes(wasmtime.wat2wasm(content))
        except (wasmtime.WasmtimeError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{file} is no WAT text: {error}") from error
    raise click.BadParameter(f"{file} is neither WASM (it does not begin with \\0asm) nor a .wat text")
