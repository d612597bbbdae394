"""The command line against a computer, as scripts see it: standard output, standard error, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import command_line
import pytest
from command_line import Ran

from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


class Shell:
    """Runs commands in a folder, with a wallet of its own."""

    def __init__(self, computer: LocalComputer, folder: Path) -> None:
        self.folder = folder
        wallet = str(folder / "wallet.json")
        self._variables = {"AORAY_URL": computer.url, "AORAY_WALLET": wallet}

    def __call__(self, *words: str, stdin: str = "", code: int = 0) -> Ran:
        return command_line.aoray(*words, code=code, stdin=stdin, cwd=self.folder, **self._variables)

    def spawn(self, *words: str) -> str:
        return self("spawn", *words).out.split()[-1]


@pytest.fixture
def aoray(computer: LocalComputer, tmp_path: Path) -> Shell:
    return Shell(computer, tmp_path)


def test_code_may_begin_with_a_dash_or_come_from_a_pipe(aoray: Shell) -> None:
    process = aoray.spawn()
    assert aoray("eval", process, "-- the answer\nreturn 5").out == "5\n"
    assert aoray("eval", process, "-5").out == "-5\n"
    assert aoray("eval", process, "--[[a=b]] return 1").out == "1\n"
    assert aoray("eval", process, stdin="return 6\n").out == "6\n"
    assert aoray("eval", process, "-", stdin="return 7").out == "7\n"
    assert "no code" in aoray("eval", process, code=2).err
    assert aoray("send", process, "-5", "--action", "Number", "--wait").out


def test_eval_prints_the_output_alone_and_errors_to_stderr(aoray: Shell) -> None:
    process = aoray.spawn()
    sends = aoray("eval", process, 'Send({Target = ao.id, Action = "Hi"}) return "said"')
    assert sends.out == "said\n" and "Hi" in sends.err
    silent = aoray("eval", process, "X = 1")
    assert (silent.out, silent.err) == ("", "(no output)\n")
    failed = aoray("eval", process, 'print("before") error("that is bad")', code=1)
    assert failed.out == "" and "that is bad" in failed.err
    failed = aoray("eval", process, 'error({code = "no-funds"})', "--json", code=1)
    assert 'code = "no-funds"' in json.loads(failed.out)["result"]["Error"] and not failed.err


def test_a_program_that_cannot_boot_is_said_and_stops_a_script(aoray: Shell) -> None:
    programs = {
        "one": ("this is not lua", "syntax error"),
        "two": ('require("nowhere.to.be.found")', "nowhere.to.be.found"),
        "three": ('assert(ao.env.Process.Tags.Treasury, "no Treasury tag")', "no Treasury tag"),
    }
    for name, (text, why) in programs.items():
        (aoray.folder / f"{name}.lua").write_text(text)
        failed = aoray("spawn", "--load", f"{name}.lua", code=1)
        assert failed.out.startswith("spawned process ") and why in failed.err
        said = json.loads(aoray("spawn", "--load", f"{name}.lua", "--json", code=1).out)
        assert len(said["process"]) == 43 and why in said["result"]["Error"]
    boots = ("--data", "this is not lua", "--tag", "On-Boot=Data")
    assert "syntax error" in aoray("spawn", *boots, code=1).err


def test_what_a_program_requires_from_beside_it_comes_along(aoray: Shell) -> None:
    (aoray.folder / "lib").mkdir()
    (aoray.folder / "lib" / "words.lua").write_text('return {say = function() return "from lib" end}')
    program = 'local w = require(".lib.words") Handlers.add("Say", "Say", function() print(w.say()) end)'
    (aoray.folder / "main.lua").write_text(program + ' print("ready")')
    ran = aoray("spawn", "--load", "main.lua")
    process = ran.out.split()[-1]
    assert ran.err == "ready\n"
    assert aoray("send", process, "--action", "Say", "--wait").out.endswith("from lib\n")
    (aoray.folder / "lib" / "words.lua").write_text('return {say = function() return "again" end}')
    assert aoray("eval", process, "--file", "main.lua").out == "ready\n"
    assert aoray("send", process, "--action", "Say", "--wait").out.endswith("again\n")
    assert aoray("spawn", "--load", "-", stdin='print("piped")').err == "piped\n"


def test_what_went_wrong_ends_a_script(aoray: Shell) -> None:
    process = aoray.spawn("--tag", "Name=x")
    aoray("eval", process, 'Handlers.add("Bad", "Bad", function() error({missing = 12}) end)')
    for words in (("send", process, "--action", "Bad", "--wait"), ("dryrun", process, "--action", "Bad")):
        assert "missing = 12" in aoray(*words, code=1).out
    message = json.loads(aoray("send", process, "--action", "Bad", "--json").out)["message"]
    assert "missing = 12" in aoray("result", message, "--process", process, code=1).out
    assert "nothing to push" in aoray("push", process, "1").out
    assert "slot 99" in aoray("push", process, "99", code=1).err
    assert "slot 99" in json.loads(aoray("push", process, "99", "--json", code=1).out)["error"]
    said = json.loads(aoray("push", process, "1", "7", "--json", code=1).out)
    assert said["pushed"] == [] and "7" in said["error"]
    unknown = json.loads(aoray("send", "A" * 43, "--json", code=1).out)
    assert unknown["code"] == "unknown_process" and "A" * 43 in unknown["error"]
    assert not aoray("result", message, "--process", "A" * 43, "--json", code=1).err
