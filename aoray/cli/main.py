"""The command line: `aoray up` runs a computer; the other commands are a client of one.

Every command says what happened in a sentence, or with `--json` as one JSON object on one line for
programs. What goes wrong is said on standard error, with what to do about it (with `--json` as JSON on
standard output), and the exit code is 1 (2 for a wrong call). Colours that a process prints are shown on a
terminal, unless NO_COLOR is set. The commands themselves are in `aoray.cli`, and `verify` and `replay`
in `aoray.cli.verify`.
"""

from __future__ import annotations

import click

from aoray._version import __version__
from aoray.cli import config, export, keys, messages, observe, operating, publish, up, verify
from aoray.cli.context import Group


@click.group(cls=Group)
@click.version_option(__version__, prog_name="aoray")
def main() -> None:
    """Run an AO computer on Ray, and use one from the command line."""


for command in (
    *(up.up, up.demo, config.config),
    *(messages.spawn, messages.send, messages.evaluate, messages.result, messages.dryrun),
    *(observe.push, observe.monitor, observe.trace, observe.status),
    *(publish.wallet, publish.module, export.export, keys.keys, operating.process),
    *(verify.verify, verify.replay),
):
    main.add_command(command)
