"""The command line against a computer, as scripts see it: standard output, standard error, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aoray.testing import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


class Shell:
    """Runs commands in a folder, with a wallet of its own."""

    def __init__(self, computer: LocalComputer, folder: Path) -> None:
        self.folder = folder
        wallet = str(folder / "wallet.json")
        self._environment = {**os.environ, "AORAY_URL": computer.url, "AORAY_WALLET": wallet}

    def __call__(self, *words: str, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [sys.executable, "-m", "aoray", *words],
            **{"cwd": self.folder, "env": self._environment, "input": stdin},
            **{"capture_output": True, "text": True, "timeout": 120, "check": False},
        )
        assert ran.returncode == code, ran
        assert "Traceback" not in ran.stderr
        return ran

    def spawn(self, *words: str) -> str:
        return self("spawn", *words).stdout.split()[-1]


@pytest.fixture
def aoray(computer: LocalComputer, tmp_path: Path) -> Shell:
    return Shell(computer, tmp_path)


def test_code_may_begin_with_a_dash_or_come_from_a_pipe(aoray: Shell) -> None:
    process = aoray.spawn()
    assert aoray("eval", process, "-- the answer\nreturn 5").stdout == "5\n"
    assert aoray("eval", process, "-5").stdout == "-5\n"
    assert aoray("eval", process, "--[[a=b]] return 1").stdout == "1\n"
    assert aoray("eval", process, stdin="return 6\n").stdout == "6\n"
    assert aoray("eval", process, "-", stdin="return 7").stdout == "7\n"
    assert "no code" in aoray("eval", process, code=2).stderr
    assert aoray("send", process, "-5", "--action", "Number", "--wait").stdout


def test_eval_prints_the_output_alone_and_errors_aside(aoray: Shell) -> None:
    process = aoray.spawn()
    sends = aoray("eval", process, 'Send({Target = ao.id, Action = "Hi"}) return "said"')
    assert sends.stdout == "said\n" and "Hi" in sends.stderr
    silent = aoray("eval", process, "X = 1")
    assert (silent.stdout, silent.stderr) == ("", "(no output)\n")
    failed = aoray("eval", process, 'print("before") error("that is bad")', code=1)
    assert failed.stdout == "" and "that is bad" in failed.stderr
    failed = aoray("eval", process, 'error({code = "no-funds"})', "--json", code=1)
    assert 'code = "no-funds"' in json.loads(failed.stdout)["result"]["Error"] and not failed.stderr


def test_a_program_that_cannot_boot_is_said_and_stops_a_script(aoray: Shell) -> None:
    programs = {
        "one": ("this is not lua", "syntax error"),
        "two": ('require("nowhere.to.be.found")', "nowhere.to.be.found"),
        "three": ('assert(ao.env.Process.Tags.Treasury, "no Treasury tag")', "no Treasury tag"),
    }
    for name, (text, why) in programs.items():
        (aoray.folder / f"{name}.lua").write_text(text)
        failed = aoray("spawn", "--load", f"{name}.lua", code=1)
        assert failed.stdout.startswith("spawned process ") and why in failed.stderr
        said = json.loads(aoray("spawn", "--load", f"{name}.lua", "--json", code=1).stdout)
        assert len(said["process"]) == 43 and why in said["result"]["Error"]
    boots = ("--data", "this is not lua", "--tag", "On-Boot=Data")
    assert "syntax error" in aoray("spawn", *boots, code=1).stderr


def test_what_a_program_requires_from_beside_it_comes_along(aoray: Shell) -> None:
    (aoray.folder / "lib").mkdir()
    (aoray.folder / "lib" / "words.lua").write_text('return {say = function() return "from lib" end}')
    program = 'local w = require(".lib.words") Handlers.add("Say", "Say", function() print(w.say()) end)'
    (aoray.folder / "main.lua").write_text(program + ' print("ready")')
    ran = aoray("spawn", "--load", "main.lua")
    process = ran.stdout.split()[-1]
    assert ran.stderr == "ready\n"
    assert aoray("send", process, "--action", "Say", "--wait").stdout.endswith("from lib\n")
    (aoray.folder / "lib" / "words.lua").write_text('return {say = function() return "again" end}')
    assert aoray("eval", process, "--file", "main.lua").stdout == "ready\n"
    assert aoray("send", process, "--action", "Say", "--wait").stdout.endswith("again\n")
    assert aoray("spawn", "--load", "-", stdin='print("piped")').stderr == "piped\n"


def test_what_went_wrong_ends_a_script(aoray: Shell) -> None:
    process = aoray.spawn("--tag", "Name=x")
    aoray("eval", process, 'Handlers.add("Bad", "Bad", function() error({missing = 12}) end)')
    for words in (("send", process, "--action", "Bad", "--wait"), ("dryrun", process, "--action", "Bad")):
        assert "missing = 12" in aoray(*words, code=1).stdout
    message = json.loads(aoray("send", process, "--action", "Bad", "--json").stdout)["message"]
    assert "missing = 12" in aoray("result", message, "--process", process, code=1).stdout
    assert "nothing to push" in aoray("push", process, "1").stdout
    assert "slot 99" in aoray("push", process, "99", code=1).stderr
    assert "slot 99" in json.loads(aoray("push", process, "99", "--json", code=1).stdout)["error"]
    said = json.loads(aoray("push", process, "1", "7", "--json", code=1).stdout)
    assert said["pushed"] == [] and "7" in said["error"]
    unknown = json.loads(aoray("send", "A" * 43, "--json", code=1).stdout)
    assert unknown["code"] == "unknown_process" and "A" * 43 in unknown["error"]
    assert not aoray("result", message, "--process", "A" * 43, "--json", code=1).stderr
