"""A setting is one field: its variable, its option, its check, its place in the help and on the page."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aoray.cli import config
from aoray.cli.main import main
from aoray.errors import ClientError
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.signatures.jwk import signer_to_jwk
from aoray.settings import SETTINGS, Settings
from aoray.testing.local_computer import free_ports
from aoray.util.setting_fields import Setting

PAGE = Path(__file__).parents[2] / "docs/settings.md"
REFUSED: dict[str, list[str]] = {
    "data": ["FILE", "FILE/below", "/proc/nowhere"],
    "store": ["mysql://localhost/aoray", "postgresql://127.0.0.1:9/nowhere", "postgresql://h/d?schema=A-B"],
    "files": ["nowhere://bucket", "file://FILE/below"],
    "keys": ["FILE", "OTHERS_KEYS", "/proc/nowhere"],
    "host": ["203.0.113.7", "no.such.host.invalid"],
    "port": ["0", "65534", "TAKEN"],
    "trusted_proxies": ["proxy.example", "10.0.0.0/99"],
    "gateway_url": ["arweave.net"],
    "balances": ["/nowhere.json", "FILE"],
    "bundler_url": ["turbo", "http://localhost"],
    "arweave_wallet": ["/nowhere.json", "FILE"],
    "ray_address": ["somewhere:else", "127.0.0.1:9"],
    "actor_per_process": ["--actor-per-process=perhaps"],
    "log_level": ["loud"],
}
"""What each setting may not be; numbers are tried below and above what their fields allow."""


def refused(setting: Setting) -> Iterator[Any]:
    values = list(REFUSED.get(setting.name, ()))
    if setting.is_number:
        values += [str(setting.least - 1), "four", "nan"]
    assert values, f"{setting.name} has no value that is refused here"
    yield from (pytest.param(setting, value, id=f"{setting.option} {value}") for value in values)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to run in, and a home: all that a command that ends well or badly may write in."""
    for name in [name for name in os.environ if name.startswith("AORAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/scheduler.json").write_text(json.dumps(signer_to_jwk(generate_ed25519())))
    (tmp_path / "keys/scheduler.json").chmod(0o644)
    return tmp_path


def tree(place: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in (place, *place.rglob("*"))}


def words_of(setting: Setting, value: str, place: Path, taken: int) -> list[str]:
    """The words of a call with this value; with what has to be there for it to be looked at."""
    value = value.replace("FILE", str(place / "file")).replace("OTHERS_KEYS", str(place / "keys"))
    value = value.replace("TAKEN", str(taken))
    words = [value] if value.startswith("--") else [setting.option, value]
    if setting.name == "arweave_wallet":
        words += ["--gateway-url", "http://127.0.0.1:9"]
    return words if "--port" in words else [*words, "--port", str(free_ports())]


@pytest.mark.parametrize(("setting", "value"), [each for setting in SETTINGS for each in refused(setting)])
def test_a_refused_option_makes_no_file_and_no_directory(
    setting: Setting, value: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aoray.cli.up.ray_env.prepare", lambda _: pytest.fail("it was not refused"))
    monkeypatch.setattr("aoray.cli.up._stop_on_signals", lambda: None)
    before = tree(place)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ran = CliRunner().invoke(main, ["up", *words_of(setting, value, place, listening.getsockname()[1])])
    assert ran.exit_code in (1, 2), ran.output
    assert ran.stderr and "Traceback" not in ran.stderr
    assert tree(place) == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--port", "65534"], 2, "must be from 1 to 65531. The port at which all units answer"),
        (["--shards", "0"], 2, "--shards is 0, and must be 1 or more"),
        (["--gateway-url", "arweave.net"], 2, "a URL that begins with http:// or https://"),
        (["--log-level", "loud"], 2, "one of debug, info"),
        (["--bundler-url", "http://localhost"], 1, "needs a gateway"),
        (["--data", "/proc/nowhere"], 1, "can't write in /proc/nowhere: No such file"),
    ],
)
def test_what_is_refused_is_said_with_what_it_must_be(
    place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str
) -> None:
    monkeypatch.setattr("aoray.cli.up._stop_on_signals", lambda: None)
    monkeypatch.setenv("AORAY_PORT", str(free_ports()))
    ran = CliRunner().invoke(main, ["up", *words])
    assert (ran.exit_code, said in ran.stderr) == (code, True), ran.output


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_a_variable_and_an_option_that_wins(setting: Setting) -> None:
    if isinstance(setting.default, bool):
        text, other, value = "on", [setting.option], True
    elif setting.is_number:
        number = setting.least + 7
        text, value = f"{setting.least + 5:g}", type(setting.default)(number)
        other = [setting.option, f"{number:g}"]
    else:
        text = setting.choices[0] if setting.choices else "http://one"
        chosen = setting.choices[1] if setting.choices else "http://two"
        other, value = [setting.option, chosen], type(setting.default)(chosen)
    begun: list[Settings] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aoray.cli.up._run", begun.append)
        patch.setenv(setting.variable, text)
        assert CliRunner().invoke(main, ["up"]).exit_code == 0
        assert CliRunner().invoke(main, ["up", *other]).exit_code == 0
        shown = [json.loads(CliRunner().invoke(main, ["config", "--json", *w]).stdout) for w in ([], other)]
    of_variable, of_option = (getattr(each, setting.name) for each in begun)
    wanted = dataclasses.replace(Settings(), **{setting.name: value}).resolved()
    assert of_option == getattr(wanted, setting.name)
    assert setting.default not in (of_variable, of_option) and (of_variable != of_option or text == "on")
    sources = [each[setting.name]["source"] for each in shown]
    assert sources == [setting.variable, setting.option]
    assert [str(each[setting.name]["value"]) for each in shown] == [str(of_variable), str(of_option)]


def run_config(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["config", *words], env=environment)


def test_config_says_what_is_in_force_and_where_it_is_from(place: Path) -> None:
    before = tree(place)
    ran = run_config("--shards", "2", AORAY_PORT="5000", AORAY_SHARDS="3")
    assert ran.exit_code == 0 and tree(place) == before
    rows = {line.split()[0]: line.split(None, 2)[1:] for line in ran.stdout.splitlines()}
    assert rows.keys() == {each.name for each in SETTINGS}
    assert rows["port"] == ["AORAY_PORT", "5000"] and rows["shards"] == ["--shards", "2"]
    assert rows["actors_per_node"] == ["default", "one for each core"]
    assert rows["data"] == ["default", str(place / "aoray-data")]
    refused = run_config("--json", AORAY_PORT="0")
    assert refused.exit_code == 1 and "AORAY_PORT is 0" in json.loads(refused.stdout)["error"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h/d", "postgresql://u:…@h/d"),
        ("postgresql://u@h:5432/d?schema=a", "postgresql://u@h:5432/d?schema=a"),
        ("postgresql://u@h/d?sslpassword=secret&schema=a", "postgresql://u@h/d?sslpassword=…&schema=a"),
        ("s3://id:sec/ret@bucket/x", "s3://id:…@bucket/x"),
    ],
)
def test_config_shows_no_password(url: str, shown: str) -> None:
    assert json.loads(run_config("--json", "--store", url).stdout)["store"]["value"] == shown
    assert "secret" not in run_config("--store", url).stdout


def test_the_page_says_what_the_fields_say() -> None:
    assert PAGE.read_text() == config.page(), "make settings writes it"


def test_all_but_what_actors_are_handed_is_a_setting_with_help() -> None:
    names = {each.name for each in SETTINGS}
    assert {each.name for each in dataclasses.fields(Settings)} - names == {"cluster"}
    for each in SETTINGS:
        assert each.help.endswith(".") and each.section and each.allows(each.default)
        assert each.unset or each.default is False or each.default not in ("", 0)


def test_what_a_variable_says_is_a_value_or_is_refused() -> None:
    for text, value in (("1", True), ("off", False), ("Yes", True)):
        assert Settings.from_environment({"AORAY_ACTOR_PER_PROCESS": text}).actor_per_process is value
    for name, text in (("ACTOR_PER_PROCESS", "perhaps"), ("PORT", "four"), ("RATE_PER_WALLET", "inf")):
        with pytest.raises(ClientError, match=f"AORAY_{name} is '?{text}"):
            Settings.from_environment({f"AORAY_{name}": text})
    with pytest.raises(TypeError, match="prot"):
        Settings.from_environment({}, prot=1)
