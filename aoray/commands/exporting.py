"""`aoray export`: the log of a process as a file of columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aoray.commands.context import Context, client_command
from aoray.words import Command


@click.command(cls=Command)
@client_command
@click.argument("process")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["parquet", "arrow"]),
    default="parquet",
    show_default=True,
    help="What is written.",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file. [PROCESS.parquet]"
)
@click.option("--after", type=click.IntRange(min=-1), default=-1, help="Only what is behind this nonce.")
@click.option("--data/--no-data", default=False, help="With the messages' data, not only its size.")
def export(context: Context, process: str, kind: Any, output: Path | None, after: int, data: bool) -> None:
    """Write the log of PROCESS, its results and their times as Parquet or Arrow."""
    from aoray.client.blocking import connect
    from aoray.client.columns import write
    from aoray.client.wallets import new_wallet

    file = output or Path(f"{process}.{kind}")
    with connect(context.url, wallet=new_wallet()) as ao:
        rows = write(ao.log_batches(process, after=after, data=data), file, kind)
    context.say({"file": str(file), "rows": rows}, f"wrote {rows:,} slots of {process} to {file}")
