"""What the command line says before it reaches a computer: help, wrong calls, wallets, colours."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from aoray.cli.context import Group
from aoray.cli.main import main

ID = "A" * 42 + "E"
NOWHERE = "http://127.0.0.1:9"


def commands(group: click.Group, *before: str) -> Iterator[tuple[list[str], click.Command]]:
    yield [*before], group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield [*before, name], command


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(*each, id=" ".join(each[0]) or "aoray") for each in commands(main)]
)
def test_help_is_whole(words: list[str], command: click.Command) -> None:
    shown = CliRunner().invoke(main, [*words, "--help"])
    assert shown.exit_code == 0
    assert "..." not in shown.output.replace("[ARGS]...", "")
    assert (command.help or "").rstrip().endswith(".")
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, f"{words} {option.name} has no help"
    if isinstance(command, click.Group):
        for each in command.commands.values():
            sentence = (each.help or "").partition("\n\n")[0].split()
            assert sentence and " ".join(sentence) in " ".join(shown.output.split())


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["send", "--json"], 2, "PROCESS"),
        (["send", "nope", "--json"], 2, "nope"),
        (["spawn", "--json", "--nope"], 2, "--nope"),
        (["spawn", "--json", "--tag", "nothing"], 2, "NAME=VALUE"),
        (["spawn", "--json", "--load", "/nowhere.lua"], 2, "/nowhere.lua"),
        (["module", "publish", "--json", "/nowhere.wasm"], 2, "/nowhere.wasm"),
        (["nope", "--json"], 2, "nope"),
        (["status", "--json", "--url", NOWHERE], 1, NOWHERE),
        (["spawn", "--json", "--wallet", "/proc/nowhere.json", "--url", NOWHERE], 1, "/proc/nowhere.json"),
        (["wallet", "--json", "--wallet", "/proc/nowhere/wallet.json"], 1, "/proc/nowhere"),
        (["eval", ID, "--json"], 2, "no code"),
    ],
)
def test_with_json_every_error_is_one_json_object_on_standard_output(
    words: list[str], code: int, says: str, tmp_path: Path
) -> None:
    ran = CliRunner().invoke(main, words, env={"HOME": str(tmp_path)})
    assert ran.exit_code == code, ran.output
    said = json.loads(ran.stdout)
    assert says in said["error"] and said["code"]
    assert not ran.stderr


def test_json_behind_a_double_dash_is_not_an_option() -> None:
    ran = CliRunner().invoke(main, ["send", ID, "--url", NOWHERE, "--nope", "--", "--json"])
    assert ran.exit_code == 2 and not ran.stdout and "--nope" in ran.stderr


def test_a_wallet_that_is_named_must_be_there_and_is_not_made(tmp_path: Path) -> None:
    wallet = tmp_path / "wallet.json"
    for words in (["spawn"], ["send", ID], ["eval", ID, "1"], ["dryrun", ID], ["monitor", ID]):
        ran = CliRunner().invoke(main, [*words, "--wallet", str(wallet), "--url", NOWHERE])
        assert ran.exit_code == 1
        assert str(wallet) in ran.stderr and "aoray wallet --wallet" in ran.stderr
        assert not wallet.exists()
    assert CliRunner().invoke(main, ["wallet", "--wallet", str(wallet)]).exit_code == 0
    made = wallet.read_bytes()
    ran = CliRunner().invoke(main, ["spawn", "--wallet", str(wallet), "--url", NOWHERE])
    assert NOWHERE in ran.stderr and wallet.read_bytes() == made


def test_the_default_wallet_is_made_on_first_use(tmp_path: Path) -> None:
    wallet = tmp_path / "wallet.json"
    ran = CliRunner().invoke(main, ["spawn", "--url", NOWHERE], env={"AORAY_WALLET": str(wallet)})
    assert NOWHERE in ran.stderr and wallet.exists()


@pytest.mark.parametrize(("value", "coloured"), [("1", False), ("", True), (None, True)])
def test_no_color_is_heeded(value: str | None, coloured: bool) -> None:
    @click.group(cls=Group)
    def group() -> None:
        pass

    @group.command()
    def say() -> None:
        click.echo("\x1b[32mgreen\x1b[0m")

    ran = CliRunner().invoke(group, ["say"], env={"NO_COLOR": value}, color=True)
    assert ("\x1b[32m" in ran.output) is coloured


def test_code_is_asked_for_once(tmp_path: Path) -> None:
    file = tmp_path / "code.lua"
    file.write_text("return 1")
    for words in (["eval", ID], ["eval", ID, "-"], ["eval", ID, "1", "--file", str(file)]):
        ran = CliRunner().invoke(main, [*words, "--url", NOWHERE], input="  \n")
        assert ran.exit_code == 2 and "CODE" in ran.stderr


def test_a_misspelled_option_is_never_sent_as_data() -> None:
    ran = CliRunner().invoke(main, ["send", ID, "--wiat", "--url", NOWHERE])
    assert ran.exit_code == 2 and "--wiat" in ran.stderr


def value_of(option: click.Parameter) -> str:
    """What a word that has to be there may be."""
    return {"process": ID, "message": ID, "nonce": "1", "to": "1", "unit": "scheduler"}.get(
        option.name or "", "file"
    )


@pytest.mark.parametrize("value", ["nonsense", "/proc/nowhere/x", "-7"])
@pytest.mark.parametrize(
    ("words", "command", "option"),
    [
        pytest.param(words, command, option, id=f"{' '.join(words)} {option.opts[0]}")
        for words, command in commands(main)
        for option in command.params
        if isinstance(option, click.Option) and words[:1] not in (["up"], ["config"])
    ],
)
def test_what_is_refused_makes_no_file(
    words: list[str],
    command: click.Command,
    option: click.Option,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of `aoray up` and `aoray config` that is in test_settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AORAY_")]:
        monkeypatch.delenv(name)
    (tmp_path / "file").write_text("a file")
    needed = [each for each in command.params if each.required and each is not option]
    call = [*words]
    for each in needed:
        call += [value_of(each)] if isinstance(each, click.Argument) else [each.opts[0], value_of(each)]
    call += [f"{option.opts[0]}=x"] if option.is_flag else [option.opts[0], value]
    ran = CliRunner().invoke(main, call, env={"HOME": str(tmp_path)})
    well = ran.exit_code == 0 or "Start the computer with `aoray up`" in ran.stderr
    assert well or ran.exit_code in (1, 2), ran.exception
    if not well:
        assert [path.name for path in tmp_path.rglob("*")] == ["file"], (call, ran.stderr)
