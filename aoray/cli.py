"""The command line: `aoray up` runs a computer; the other commands are a client of one.

Every command says what happened in a sentence, or with `--json` as one JSON object on one line for
programs. What goes wrong is said on standard error, with what to do about it, and the exit code is 1 (2 for
a wrong call).
"""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from aoray import __version__, audit, limits, ray_environment
from aoray.errors import AorayError
from aoray.settings import Settings
from aoray.wording import describe, describe_crons, describe_status

T = TypeVar("T")
DEFAULT_WALLET = Path("~/.aoray/wallet.json")


class Group(click.Group):
    """Turns the project's errors into a line on standard error and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AorayError as error:
            click.echo(f"aoray: {error.message}" + (f"\n       {error.hint}" if error.hint else ""), err=True)
            sys.exit(1)
        except OSError as error:
            if not error.filename:  # of a file it is the caller's: a path that can't be read or made
                raise
            click.echo(f"aoray: {error.filename}: {error.strerror}", err=True)
            sys.exit(1)


@click.group(cls=Group)
@click.version_option(__version__, prog_name="aoray")
def main() -> None:
    """The AO computer, on Ray."""


main.add_command(audit.verify)
main.add_command(audit.replay)


@main.command()
@click.option("--data", type=click.Path(path_type=Path), help="Directory for everything kept. [aoray-data]")
@click.option("--host", help="Address to listen on. [127.0.0.1]")
@click.option(
    "--port", type=int, help="All units; Arweave, messenger, scheduler, compute on +1 to +4. [4000]"
)
@click.option("--ray-address", help="Join this Ray cluster (`auto`, `host:port`) instead of starting one.")
@click.option("--gateway-url", help="An Arweave gateway (or node) instead of the embedded Arweave.")
@click.option("--bundler-url", help="Post bundles of the log to this bundler (Turbo, Irys).")
@click.option(
    "--arweave-wallet", help="Arweave wallet (JWK) that pays; without a bundler: layer-1 transactions."
)
@click.option("--actors-per-node", type=int, help="Process actors in the pool. [one a core]")
@click.option(
    "--actor-per-process", is_flag=True, default=None, help="Each process is a Ray actor for itself."
)
def up(**options: Any) -> None:
    """Run a computer in the foreground until Ctrl-C."""
    settings = Settings.from_environment(**options).resolved()
    ray_environment.prepare(settings)
    from aoray.runtime import Computer

    _stop_on_signals()
    click.echo(f"aoray {__version__}: starting on {settings.url}, data in {settings.data}")
    try:
        with Computer(settings) as computer:
            _stop_on_signals()  # Ray has put its own handlers in their place
            click.echo(_welcome(settings, computer.health))
            computer.watch()
    except Stopped:
        click.echo("stopped")


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
    port = settings.port
    unit = f"http://{settings.host}:{{}}".format
    return "\n".join(
        [
            f"ready: {settings.url} (all units; Arweave {settings.arweave_url}, messenger {unit(port + 2)},"
            f" scheduler {unit(port + 3)}, compute {unit(port + 4)})",
            f"  module     {health['module']}",
            f"  scheduler  {health['scheduler']}",
            f"  authority  {health['authority']}",
            "",
            f"export MU_URL={unit(port + 2)} CU_URL={unit(port + 4)} GATEWAY_URL={settings.arweave_url}",
            f"export AORAY_URL={settings.url} SCHEDULER={health['scheduler']} AUTHORITY={health['authority']}"
            f" AOS_MODULE={health['module']}",
            "",
            "Ctrl-C stops it.",
        ]
    )


class Context:
    """What every client command needs: where the computer is, who speaks, and how to say it."""

    def __init__(self, url: str, wallet: Path, as_json: bool) -> None:
        self.url = url
        self.wallet = wallet.expanduser()
        self.as_json = as_json

    def run(self, call: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Run `call` with a client of the computer, signing with the wallet (made on first use)."""
        from aoray.client import Client
        from aoray.keyfiles import load_or_make

        async def with_client() -> T:
            async with Client(self.url, load_or_make(self.wallet)) as client:
                return await call(client)

        return asyncio.run(with_client())

    def say(self, found: dict[str, Any], text: str) -> None:
        """Print `found` as JSON, or the text."""
        click.echo(orjson.dumps(found).decode() if self.as_json else text)


def client_command(function: Callable[..., None]) -> Callable[..., None]:
    """Adds `--url`, `--wallet` and `--json`, and gives the command a `Context`."""

    @click.option("--url", envvar="AORAY_URL", default="http://127.0.0.1:4000", help="The computer.")
    @click.option("--wallet", envvar="AORAY_WALLET", type=click.Path(path_type=Path), default=DEFAULT_WALLET)
    @click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
    @functools.wraps(function)
    def command(url: str, wallet: Path, as_json: bool, **rest: Any) -> None:
        function(Context(url, wallet, as_json), **rest)

    return command


def tag_option(function: Callable[..., None]) -> Callable[..., None]:
    """Adds `--tag Name=Value`, as often as wanted."""
    return click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="A tag; repeatable.")(
        function
    )


def parse_tags(texts: Sequence[str]) -> list[Any]:
    """`Name=Value` texts as tags."""
    from aoray.protocol.tags import Tag

    pairs = [text.partition("=") for text in texts]
    for (name, equals, _), text in zip(pairs, texts, strict=True):
        if not (name and equals):
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--tag")
    return [Tag(name, value) for name, _, value in pairs]


@main.command()
@client_command
@click.option("--module", default="", help="Id of the module. [the built-in Lua]")
@click.option("--name", default="", help="The process's Name tag.")
@click.option("--data", default="", help="Data of the process item.")
@click.option("--load", type=click.File("rb"), help="Lua file that the process evaluates as it boots.")
@tag_option
def spawn(context: Context, module: str, name: str, data: str, load: Any, tags: tuple[str, ...]) -> None:
    """Make a process."""
    named = [f"Name={name}"] if name else []
    sent = parse_tags([*named, *tags])
    content = load.read() if load else data
    process = context.run(
        lambda client: client.spawn(module=module, tags=sent, data=content, on_boot=bool(load))
    )
    context.say({"process": process}, f"spawned process {process}")


@main.command()
@client_command
@click.argument("process")
@click.argument("data", default="")
@click.option("--action", default="", help="The message's Action tag.")
@click.option("--wait/--no-wait", default=False, help="Wait for the result and print it.")
@tag_option
def send(context: Context, process: str, data: str, action: str, wait: bool, tags: tuple[str, ...]) -> None:
    """Send a signed message to PROCESS."""

    async def call(client: Any) -> tuple[str, dict[str, Any] | None]:
        message = await client.send(process, action=action, tags=parse_tags(tags), data=data)
        return message, await client.result(process, message) if wait else None

    message, result = context.run(call)
    found = {"message": message} | ({"result": result} if result is not None else {})
    context.say(found, f"sent message {message}" + (f"\n{describe(result)}" if result is not None else ""))


@main.command("eval")
@client_command
@click.argument("process")
@click.argument("code", default="")
@click.option("--file", "source", type=click.File("r"), help="Lua file to evaluate instead of CODE.")
def evaluate(context: Context, process: str, code: str, source: Any) -> None:
    """Evaluate Lua CODE in PROCESS, which this wallet must own."""
    text = source.read() if source else code

    async def call(client: Any) -> tuple[str, dict[str, Any]]:
        message = await client.send(process, action="Eval", data=text)
        return message, await client.result(process, message)

    message, result = context.run(call)
    context.say({"message": message, "result": result}, describe(result))
    if result.get("Error"):
        sys.exit(1)


@main.command()
@client_command
@click.argument("message")
@click.option("--process", required=True, help="The process that the message was sent to.")
def result(context: Context, message: str, process: str) -> None:
    """Wait for the result of MESSAGE and print it."""
    found = context.run(lambda client: client.result(process, message))
    context.say(found, describe(found))


@main.command()
@client_command
@click.argument("process")
@click.option("--action", default="")
@click.option("--data", default="")
@tag_option
def dryrun(context: Context, process: str, action: str, data: str, tags: tuple[str, ...]) -> None:
    """What a message to PROCESS would give, without sending it."""
    sent = parse_tags(tags)
    found = context.run(lambda client: client.dryrun(process, action=action, tags=sent, data=data))
    context.say(found, describe(found))


@main.command()
@client_command
@click.argument("process")
@click.argument("nonce", type=click.IntRange(min=0))
@click.argument("index", type=click.IntRange(min=0), required=False)
def push(context: Context, process: str, nonce: int, index: int | None) -> None:
    """Push the outbox of slot NONCE of PROCESS again: all of it that is not delivered, or message INDEX."""

    async def call(client: Any) -> tuple[list[dict[str, Any]], list[AorayError]]:
        chosen = [index] if index is not None else await unsettled(client, process, nonce)
        failed = []
        for each in chosen:
            try:
                await client.push(process, nonce, each)
            except AorayError as error:  # the others have their turn all the same
                failed.append(error)
        page = await client.outbox(process, nonce=nonce, limit=limits.PAGE_ENTRIES_MAX)
        return [sent for sent in page["outbox"] if sent["index"] in chosen], failed

    pushed, failed = context.run(call)
    lines = [f"{each['index']} {each['state']} {each['id']} to {each['target']}" for each in pushed]
    nothing = (
        "nothing pushed"
        if failed
        else f"nothing to push: no message of the outbox of slot {nonce} waits or failed"
    )
    context.say({"process": process, "nonce": nonce, "pushed": pushed}, "\n".join(lines) or nothing)
    if failed:
        raise failed[-1]


async def unsettled(client: Any, process: str, nonce: int) -> list[int]:
    """The outbox messages of a slot that may still be delivered; no more than a page of each state."""
    pages = [
        await client.outbox(process, nonce=nonce, state=state, limit=limits.PAGE_ENTRIES_MAX)
        for state in ("pending", "dead")
    ]
    return sorted(each["index"] for page in pages for each in page["outbox"])


@main.command()
@client_command
@click.argument("process")
@click.option("--stop", is_flag=True, help="Stop them.")
@click.option("--show", is_flag=True, help="Only say how they are.")
def monitor(context: Context, process: str, stop: bool, show: bool) -> None:
    """Start the crons of PROCESS, which its Cron-Interval tags name, and say when they are due."""

    async def call(client: Any) -> dict[str, Any]:
        if not show:
            await (client.unmonitor if stop else client.monitor)(process)
        return dict(await client.monitored(process))

    found = context.run(call)
    context.say(found, describe_crons(found))


@main.command()
@client_command
@click.argument("message")
@click.option("--process", default="", help="The process that the message was sent to.")
def trace(context: Context, message: str, process: str) -> None:
    """What caused MESSAGE, and what it caused, as a tree."""
    from aoray.drawing import draw

    found = context.run(lambda client: client.trace(message, process=process))
    context.say(found, "" if context.as_json else draw(found))


@main.command()
@client_command
def status(context: Context) -> None:
    """Whether the computer takes work, and what of its log waits for Arweave."""
    found = context.run(lambda client: client.status())
    context.say(found, describe_status(found))


@main.command()
@client_command
@click.option("--type", "key_type", type=click.Choice(["ed25519", "arweave"]), default="ed25519")
def wallet(context: Context, key_type: str) -> None:
    """This wallet's address; the wallet is made if it is not there."""
    from aoray.keyfiles import load_or_make
    from aoray.protocol.keys import generate_ed25519, generate_rsa

    make = generate_rsa if key_type == "arweave" else generate_ed25519
    address = load_or_make(context.wallet, make).address
    context.say({"address": address, "file": str(context.wallet)}, f"{address}  ({context.wallet})")


@main.group()
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

        return bytes(wasmtime.wat2wasm(content.decode()))
    raise click.BadParameter(f"{file} is neither WASM (it does not begin with \\0asm) nor a .wat text")


@main.command()
def demo() -> None:
    """Start a computer, run 8 processes with 50 messages each, say what happened, and stop it."""
    from aoray.demo import run

    run()
