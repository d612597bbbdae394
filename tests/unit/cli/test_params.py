"""An id is taken for one on the command line, also if it begins with a hyphen."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from aoray.cli.main import main
from aoray.cli.params import ID_OR_NONCE, Command, TextCommand
from aoray.cli.publish import module

ID = "A" * 42 + "E"


@click.command(cls=Command)
@click.argument("process")
@click.argument("data", default="")
@click.option("--message", multiple=True)
@click.option("-o", "--out", is_flag=True)
def say(process: str, data: str, message: tuple[str, ...], out: bool) -> None:
    click.echo(repr((process, data, message, out)))


@pytest.mark.parametrize("any_id", [ID, "-" + ID[1:], "--" + ID[2:], "-o" + ID[2:], "-" * 42 + "E"])
def test_an_id_is_an_argument_wherever_it_stands(any_id: str) -> None:
    for words in ([any_id, "--message", any_id], ["--message", any_id, any_id]):
        ran = CliRunner().invoke(say, words)
        assert ran.output == repr((any_id, "", (any_id,), False)) + "\n"
    assert CliRunner().invoke(say, [ID, any_id]).output == repr((ID, any_id, (), False)) + "\n"


def test_what_is_not_an_id_is_refused_as_an_argument() -> None:
    assert "No such option" in CliRunner().invoke(say, [ID, "--actoin"]).output
    assert CliRunner().invoke(say, [ID, "-o"]).output == repr((ID, "", (), True)) + "\n"
    assert "Invalid value for PROCESS: 'nope' is not an id" in CliRunner().invoke(say, ["nope"]).output


@click.command(cls=Command)
@click.argument("slot", type=ID_OR_NONCE)
def show(slot: str) -> None:
    click.echo(slot)


@pytest.mark.parametrize("slot", [ID, "-" + ID[1:], "0", "12"])
def test_a_slot_is_named_by_an_id_or_a_nonce(slot: str) -> None:
    assert CliRunner().invoke(show, [slot]).output == slot + "\n"


def test_what_names_no_slot_is_refused() -> None:
    assert "'nope' is neither an id nor a nonce" in CliRunner().invoke(show, ["nope"]).output


def test_an_option_before_the_command_is_refused_with_its_place() -> None:
    ran = CliRunner().invoke(main, ["--url", "http://127.0.0.1:9", "status"])
    assert ran.exit_code == 2
    assert (
        "No such option: --url. Options follow the command:" in ran.output and "COMMAND --url" in ran.output
    )


@pytest.mark.parametrize(
    ("content", "said"), [(b"(module (bad", "no WAT text"), (b"\xff", "no WAT text"), (b"#", "neither")]
)
def test_a_file_that_is_not_a_module_is_refused_in_words(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / ("module.wat" if "WAT" in said else "module.txt")
    file.write_bytes(content)
    ran = CliRunner().invoke(module, ["publish", str(file)])
    assert ran.exit_code == 2 and said in " ".join(ran.output.split())


@click.command(cls=TextCommand)
@click.argument("process")
@click.argument("data", default="")
@click.option("--action", default="")
def tell(process: str, data: str, action: str) -> None:
    click.echo(repr((process, data, action)))


@pytest.mark.parametrize("text", ["-5", "-5.5", "- a list", "-- a\ncomment", "-x and y", "--a b"])
def test_numbers_and_sentences_may_begin_with_a_dash(text: str) -> None:
    assert CliRunner().invoke(tell, [ID, text]).output == repr((ID, text, "")) + "\n"
    assert CliRunner().invoke(tell, [ID, "x", "--action", text]).output == repr((ID, "x", text)) + "\n"
    assert CliRunner().invoke(tell, [ID, f"--action={text}"]).output == repr((ID, "", text)) + "\n"
