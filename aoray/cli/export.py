"""`aoray export`: the log of a process as a file of columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aoray.cli.context import Context, client_command
from aoray.cli.params import Command


@click.command(cls=Command)
@client_command
@click.argument("process")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["parquet", "arrow"]),
    default="parquet",
    show_default=True,
    help="Format of the file.",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write. [PROCESS.parquet]"
)
@click.option("--after", type=click.IntRange(min=-1), default=-1, help="Export only slots after this nonce.")
@click.option("--data/--no-data", default=False, help="Include the messages' data, not only its size.")
def export(context: Context, process: str, kind: Any, output: Path | None, after: int, data: bool) -> None:
    """Write the log of PROCESS, with results and times, to a Parquet or Arrow file."""
    from aoray.client.arrow import write
    from aoray.client.blocking import connect
    from aoray.client.wallets import new_wallet

    file = output or Path(f"{process}.{kind}")
    with connect(context.url, wallet=new_wallet()) as ao:
        rows = write(ao.log_batches(process, after=after, data=data), file, kind)
    context.say({"file": str(file), "rows": rows}, f"wrote {rows:,} slots of {process} to {file}")
