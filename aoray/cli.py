"""The command line: `aoray up` runs a computer; the other commands are a client of one.

Every command says what happened in a sentence, or with `--json` as one JSON object on one line for
programs. What goes wrong is said on standard error, with what to do about it (with `--json` as JSON on
standard output), and the exit code is 1 (2 for a wrong call). Colours that a process prints are shown on a
terminal, unless NO_COLOR is set. The commands themselves are in `aoray.commands`, and `verify` and `replay`
in `aoray.audit`.
"""

from __future__ import annotations

import click

from aoray import __version__, audit
from aoray.commands import exporting, keys, messages, operating, publishing, up, watching
from aoray.commands.context import Group


@click.group(cls=Group)
@click.version_option(__version__, prog_name="aoray")
def main() -> None:
    """The AO computer, on Ray."""


for command in (
    *(up.up, up.demo),
    *(messages.spawn, messages.send, messages.evaluate, messages.result, messages.dryrun),
    *(watching.push, watching.monitor, watching.trace, watching.status),
    *(publishing.wallet, publishing.module, exporting.export, keys.keys, operating.process),
    *(audit.verify, audit.replay),
):
    main.add_command(command)
