"""`aoray up` and `aoray demo`: the commands that run a computer."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import Any

import click

from aoray import __version__, preflight, ray_environment
from aoray.settings import Settings


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Directory for everything kept. [aoray-data]")
@click.option("--store", help="PostgreSQL for log and results (postgresql://…), instead of SQLite in --data.")
@click.option("--files", help="Where modules and checkpoints are kept (s3://…), instead of --data.")
@click.option("--keys", help="Directory of the computer's keys. [keys in --data]")
@click.option("--host", help="Address to listen on. [127.0.0.1]")
@click.option(
    "--port", type=int, help="All units; Arweave, messenger, scheduler, compute on +1 to +4. [4000]"
)
@click.option("--ray-address", help="Join this Ray cluster (`auto`, `host:port`) instead of starting one.")
@click.option("--gateway-url", help="An Arweave gateway (or node) instead of the embedded Arweave.")
@click.option("--balances", help="JSON file of what wallets have when the embedded Arweave begins (winston).")
@click.option("--bundler-url", help="Post bundles of the log to this bundler (Turbo, Irys).")
@click.option(
    "--arweave-wallet", help="Arweave wallet (JWK) that pays; without a bundler: layer-1 transactions."
)
@click.option("--actors-per-node", type=int, help="Process actors of each node. [one a core]")
@click.option("--actors", type=int, help="Process actors of all nodes. [as many as they offer]")
@click.option("--shards", type=int, help="Scheduler shards; fixed when the log is begun. [1]")
@click.option("--gateways", type=int, help="Gateways, spread over the nodes. [1]")
@click.option(
    "--actor-per-process", is_flag=True, default=None, help="Each process is a Ray actor for itself."
)
@click.option(
    "--compute-limit-max",
    type=click.IntRange(min=1),
    help="Spawns that ask for a larger Compute-Limit are refused. [9 × 10^12]",
)
@click.option(
    "--memory-limit-max",
    type=click.IntRange(min=1),
    help="Spawns that ask for a larger Memory-Limit (bytes) are refused. [1 GiB]",
)
def up(**options: Any) -> None:
    """Run a computer in the foreground until Ctrl-C."""
    settings = Settings.from_environment(**options).resolved()
    try:
        _run(settings)
    except Stopped:
        click.echo("stopped")
    except Exception as error:
        logging.getLogger(__name__).debug("the computer did not start", exc_info=error)
        raise preflight.sentence(error) from error


def _run(settings: Settings) -> None:
    preflight.check(settings)
    ray_environment.prepare(settings)
    from aoray.runtime import Computer

    _stop_on_signals()
    click.echo(f"aoray {__version__}: starting on {settings.url}, data in {settings.data}")
    with Computer(settings) as computer:
        _stop_on_signals()  # Ray has put its own handlers in their place
        click.echo(_welcome(settings, computer.health))
        computer.watch()


class Stopped(BaseException):
    """Raised in the main thread by SIGINT or SIGTERM; leaving the computer's context then stops all of it."""


def _stop_on_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(_number: int, _frame: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # an impatient second Ctrl-C must not cut the stopping short
    raise Stopped


def _welcome(settings: Settings, health: Any) -> str:
    import ray

    port = settings.port
    joined = ray.get_runtime_context()
    unit = f"http://{settings.host}:{{}}".format
    return "\n".join(
        [
            f"ready: {settings.url} (all units; Arweave {settings.arweave_url}, messenger {unit(port + 2)},"
            f" scheduler {unit(port + 3)}, compute {unit(port + 4)})",
            f"  module     {health['module']}",
            f"  scheduler  {health['scheduler']}",
            f"  authority  {health['authority']}",
            f"  Ray        {joined.gcs_address}, namespace {joined.namespace}",
            "",
            f"export MU_URL={unit(port + 2)} CU_URL={unit(port + 4)} GATEWAY_URL={settings.arweave_url}",
            f"export AORAY_URL={settings.url} SCHEDULER={health['scheduler']} AUTHORITY={health['authority']}"
            f" AOS_MODULE={health['module']}",
            "",
            "The aos shell, with these variables set:",
            f"  aos --legacy --tag-name Authority --tag-value {health['authority']}",
            "",
            "Ctrl-C stops it.",
        ]
    )


@click.command()
def demo() -> None:
    """Start a computer, run 8 processes with 50 messages each, say what happened, and stop it."""
    from aoray.demo import run

    run()
