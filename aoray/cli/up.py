"""`aoray up` and `aoray demo`: the commands that run a computer."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

import click

from aoray._version import __version__
from aoray.cli.setting_options import SettingsCommand, setting_options
from aoray.runtime import preflight, ray_env
from aoray.settings import Settings

STOP_AGAIN_SECONDS = 0.05


@click.command(cls=SettingsCommand)
@setting_options()
def up(**options: Any) -> None:
    """Run a computer in the foreground until Ctrl-C."""
    settings = Settings.from_environment(**options).resolved()
    try:
        _run(settings)
    except Stopped:
        click.echo("stopped")
    except Exception as error:
        if _is_stopping():
            click.echo("stopped")
            return
        logging.getLogger(__name__).debug("the computer did not start", exc_info=error)
        raise preflight.sentence(error) from error


def _run(settings: Settings) -> None:
    _stop_on_signals()
    try:
        preflight.check(settings)
        ray_env.prepare(settings)
        from aoray.runtime.computer import Computer
    except BaseException as error:
        if not _is_stopping():
            raise
        click.echo("stopped before anything was started", err=True)
        sys.exit(128 + (error.number if isinstance(error, Stopped) else signal.SIGINT))
    click.echo(f"aoray {__version__}: starting on {settings.url}, data in {settings.data}")
    with Computer(settings) as computer:
        _stop_on_signals()  # Ray has put its own handlers in their place
        click.echo(_welcome(settings, computer.health))
        computer.watch()


class Stopped(BaseException):
    """The exception that SIGINT and SIGTERM raise in the main thread; leaving the computer's context then
    stops all of it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop_on_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.unraisablehook = _stop_again


def _stop(number: int, _frame: Any) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # an impatient second Ctrl-C must not cut the stopping short
    raise Stopped(number)


def _is_stopping() -> bool:
    """Whether a signal came. What is raised after it may be what Python or Ray made of `Stopped`: an import
    that is interrupted amid `from … import …` ends in a TypeError."""
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def _stop_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Python drops what is raised in a finalizer or a hook of `fork`: if a signal came just there, the main
    thread would go on and hear of none any more. So it is raised again a moment later."""
    stopped = unraisable.exc_value
    if not isinstance(stopped, Stopped):
        sys.__unraisablehook__(unraisable)
        return

    def again(_number: int, _frame: Any) -> None:
        raise Stopped(stopped.number)

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, STOP_AGAIN_SECONDS)


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
    """Start a computer, send 50 messages to each of 8 processes, report the outcome, and stop it."""
    from aoray.cli.demo import run

    run()
