"""The commands that check a process from Arweave alone: `aoray verify` and `aoray replay`.

Exit code 0: all that was checked is true. 1: a lie (said with what, where and why), or Arweave does not
answer. With `--json` both are one object on standard output, with `ok` in it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import click
import orjson

from aoray.cli.params import Command
from aoray.errors import AorayError, LogFault, Unavailable
from aoray.settings import Settings

if TYPE_CHECKING:
    from aoray.client import Client
    from aoray.verify.replay import Compare, Run
    from aoray.verify.source import Progress

SWITCH_SECONDS = 0.001  # signatures are verified beside the evaluation, which would keep them waiting
GATEWAY = click.option(
    "--gateway",
    envvar="AORAY_GATEWAY_URL",
    help="URL of an Arweave gateway. [that of the computer at AORAY_URL]",
)
IGNORE = click.option(  # so it is always; scripts may say it still
    "--ignore-forged", is_flag=True, expose_value=False, hidden=True
)
COMPUTE = click.option(
    "--compute",
    multiple=True,
    metavar="ADDRESS",
    help="Compute unit whose attestations must be true; repeatable. [those that the scheduler names]",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


class Wanted(NamedTuple):
    """The log to check, where it is, how far, and whose results to compare it with."""

    process: str
    gateway: str | None
    to: int | None
    compute: tuple[str, ...]
    url: str | None = None


@click.command(cls=Command)
@click.argument("process")
@GATEWAY
@click.option("--to", type=click.IntRange(min=0), help="Last nonce to check. [the last on Arweave]")
@COMPUTE
@click.option("--url", help="Also compare the results with those that the computer at this URL serves.")
@IGNORE
@JSON
def verify(
    process: str,
    gateway: str | None,
    to: int | None,
    compute: tuple[str, ...],
    url: str | None,
    as_json: bool,
) -> None:
    """Check the log of PROCESS on Arweave, evaluate it again, and compare results with the attested ones."""
    wanted = Wanted(process, gateway, to, compute, url)
    report = _replay(wanted, as_json, lambda run: run.report())
    if url:
        report["compared_with"] = url
    _say(report, as_json, _verified(report))


@click.command(cls=Command)
@click.argument("process")
@GATEWAY
@click.option(
    "--to", type=click.IntRange(min=0), required=True, help="Nonce of the slot whose state to rebuild."
)
@click.option("--action", default="", help="Dry run on that state: value of the message's Action tag.")
@click.option(
    "--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Dry run: a tag of the message; repeatable."
)
@click.option("--data", default="", help="Dry run: data of the message.")
@click.option("--owner", default="", help="Dry run: Owner of the message. [the process's owner]")
@click.option(
    "--messages",
    type=click.File("rb"),
    help="Dry runs from a file (- is standard input): one JSON object a line, in the form that POST /dry-run"
    " takes.",
)
@COMPUTE
@IGNORE
@JSON
def replay(
    process: str,
    gateway: str | None,
    to: int,
    action: str,
    tags: tuple[str, ...],
    data: str,
    owner: str,
    messages: BinaryIO | None,
    compute: tuple[str, ...],
    as_json: bool,
) -> None:
    """Rebuild the state of PROCESS after slot --to from Arweave, and answer dry runs on it."""
    sent = _tags(tags) + ([{"name": "Action", "value": action}] if action else [])
    bodies = [_body(line) for line in messages or () if line.strip()]

    def ask(run: Run) -> dict[str, Any]:
        report = run.report()
        if sent or data:
            body = {"Id": "0" * 43, "Owner": owner or run.facts.item.address, "Data": data, "Tags": sent}
            report["dry_run"] = run.dry_run(body)
        if messages:
            report["dry_runs"] = [run.dry_run(each) for each in bodies]
        return report

    report = _replay(Wanted(process, gateway, to, compute), as_json, ask)
    text = f"process {process} after nonce {report['nonce']}: state {_state(report)}"
    if "dry_run" in report:
        text += "\n" + orjson.dumps(report["dry_run"], option=orjson.OPT_INDENT_2).decode()
    for each in report.get("dry_runs", ()):
        text += "\n" + orjson.dumps(each).decode()
    _say(report, as_json, text)


def _body(line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter(f"{line[:60]!r} is no JSON object", param_hint="--messages")
    return found


def _tags(texts: tuple[str, ...]) -> list[dict[str, str]]:
    pairs = [text.partition("=") for text in texts]
    if not all(name and equals for name, equals, _ in pairs):
        raise click.BadParameter("a tag is NAME=VALUE", param_hint="--tag")
    return [{"name": name, "value": value} for name, _, value in pairs]


def _replay(wanted: Wanted, as_json: bool, ask: Callable[[Run], dict[str, Any]]) -> dict[str, Any]:
    """What `ask` finds in the process evaluated again; a lie ends the program."""
    try:
        with _bar(shown=not as_json) as progress:
            return asyncio.run(_run(wanted, progress, ask))
    except AorayError as error:
        if as_json:
            found = {"ok": False, "error": error.message, "code": error.code, **error.details}
            click.echo(orjson.dumps(found).decode())
            sys.exit(1)
        if not isinstance(error, LogFault):
            raise
        raise LogFault(f"process {wanted.process} is not what it says: {error.message}") from error


async def _run(wanted: Wanted, progress: Progress, ask: Callable[[Run], dict[str, Any]]) -> dict[str, Any]:
    from aoray.arweave.client import ArweaveClient
    from aoray.client import Client
    from aoray.protocol.signatures.ed25519 import generate_ed25519
    from aoray.verify.replay import replayed

    sys.setswitchinterval(SWITCH_SECONDS)
    url = wanted.url or os.environ.get("AORAY_URL") or Settings.from_environment().url
    async with (
        Client(url, generate_ed25519()) as computer,
        ArweaveClient(wanted.gateway or await arweave_of(computer)) as client,
        replayed(
            client,
            wanted.process,
            to=wanted.to,
            progress=progress,
            compare=comparison(computer) if wanted.url else None,
            compute_units=wanted.compute,
        ) as run,
    ):
        return ask(run)


async def arweave_of(computer: Client) -> str:
    """Return the URL of the computer's Arweave, as the computer reports it. Raises `Unavailable` if it
    does not answer."""
    try:
        return str((await computer.health())["urls"]["arweave"])
    except Unavailable as error:
        raise Unavailable(error.message, hint=f"{error.hint} Or name an Arweave with --gateway.") from error


def comparison(computer: Any) -> Compare:
    """Return a function that compares a result with the one that a computer serves."""

    async def compare(entry: Any, result: bytes) -> None:
        theirs = await computer.result(entry.process_id, entry.message_id)
        if theirs != orjson.loads(result):
            why = f"the result of {entry.message_id} that {computer.url} serves is not what evaluation gives"
            raise LogFault(f"nonce {entry.nonce}: {why}", nonce=entry.nonce, item=entry.message_id)

    return compare


@contextmanager
def _bar(*, shown: bool) -> Iterator[Progress]:
    """A progress bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task("listing", total=None)
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total or None
        )


def _passed_over(report: dict[str, Any]) -> str:
    """What others put on Arweave that looks like this log."""
    if not (count := report["other_assignments"]):
        return ""
    return f"\n  passed over {count:,} items that look like its assignments, and are not its scheduler's"


def _say(report: dict[str, Any], as_json: bool, text: str) -> None:
    click.echo(orjson.dumps({"ok": True, **report}).decode() if as_json else text)


def _verified(report: dict[str, Any]) -> str:
    compared = (
        f"\n  compared   every result is what {report['compared_with']} serves"
        if "compared_with" in report
        else ""
    )
    return (
        f"process {report['process']} is true up to nonce {report['nonce']}\n"
        f"  checked    {report['messages']:,} messages and assignments (signatures, ids, nonces, hash chain,"
        f" times), all signed by {_schedulers(report)}\n"
        f"  evaluated  {report['messages']:,} messages with module {report['module']} in"
        f" {report['seconds']} s ({report['messages_per_second']:,} a second);"
        f" {report['errors']:,} are errors, {report['assigned']:,} were assigned from others\n"
        f"  attested   {_attested(report)}\n"
        f"  results    {report['results_sha256']}\n"
        f"  state      {_state(report)}{compared}{_passed_over(report)}"
    )


def _state(report: dict[str, Any]) -> str:
    return str(report["state_sha256"]) or "has no hash: the module's virtual machine takes none"


def _schedulers(report: dict[str, Any]) -> str:
    return ", then ".join([report["scheduler"], *report["successors"]])


def _attested(report: dict[str, Any]) -> str:
    """What was held against attestations, and what could not be."""
    others = ", ".join(report["other_attesters"])
    others = f"; not looked at: attestations by {others} (name them with --compute)" if others else ""
    if not report["compute_units"]:
        return f"nothing: the scheduler names no compute unit{others}"
    missing = [
        f"{count:,} {where}"
        for count, where in (
            (report["not_attested_at_the_end"], "at the end are not attested (yet)"),
            (report["not_attested_before"], "before that are NOT ATTESTED"),
            (report["attested_beyond"], "more are attested, beyond the slots that were checked"),
        )
        if count
    ]
    return (
        f"{report['attested']:,} results and {report['attested_states']:,} states are as"
        f" {', '.join(report['compute_units'])} signed them{''.join(f'; {each}' for each in missing)}{others}"
    )
