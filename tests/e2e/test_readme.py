"""What the README tells people to type works as it stands there: curl lines, aoconnect program, commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.signatures.jwk import signer_to_jwk
from aoray.testing.local_computer import LocalComputer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
NODE = ROOT / "tests" / "js_clients"
Command = Callable[..., Any]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language in the README."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(*command: str, cwd: Path = ROOT, **variables: str) -> str:
    """Standard output of a command that must succeed."""
    environment = {**os.environ, **variables}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def aoray(computer: LocalComputer, tmp_path: Path) -> Command:
    """The command line against the shared computer, with a wallet of its own; gives its JSON."""

    def call(*arguments: str) -> Any:
        wallet = str(tmp_path / "wallet.json")
        text = run(
            sys.executable, "-m", "aoray", *arguments, "--json", AORAY_URL=computer.url, AORAY_WALLET=wallet
        )
        return json.loads(text)

    return call


def test_the_demo_prints_what_the_picture_shows() -> None:
    (picture,) = blocks("text")
    said = run(sys.executable, "-m", "aoray", "demo", COLUMNS="80")
    place = 0
    for line in (line.strip() for line in picture.splitlines() if line.strip() != "…"):
        parts = re.split(r"([\w-]{38}…|\d+)", line)  # ids, and numbers, are others each time
        parts[0::2] = map(re.escape, parts[0::2])
        parts[1::2] = [r"[\w-]{38}…" if part.endswith("…") else r"\d+" for part in parts[1::2]]
        found = re.compile("".join(parts)).search(said, place)
        assert found, f"{line!r} is not in what was said:\n{said}"
        place = found.end()


def test_the_curl_lines_answer_with_json(computer: LocalComputer, aoray: Command) -> None:
    process = aoray("spawn")["process"]
    message = aoray("send", process, "hello", "--action", "Greet", "--wait")["message"]
    (script,) = blocks("sh")
    lines = script.replace("\\\n", " ").strip().splitlines()
    assert len(lines) == 6
    for line in lines:
        answer = run("sh", "-c", line, AORAY_URL=computer.url, PROCESS=str(process), MESSAGE=str(message))
        assert "error" not in json.loads(answer), (line, answer)


def test_the_python_program_runs_as_it_stands(computer: LocalComputer, tmp_path: Path) -> None:
    (program,) = blocks("python")
    wallet = str(tmp_path / "wallet.json")
    said = run(sys.executable, "-c", program, AORAY_URL=computer.url, AORAY_WALLET=wallet).splitlines()
    assert said == ["9.0", "100 600.0", "120 ['process', 'nonce', 'message']"]


@pytest.mark.node
def test_the_aoconnect_program_prints_42(computer: LocalComputer, tmp_path: Path) -> None:
    (program,) = blocks("js")
    script = NODE / f"readme-{os.getpid()}.mjs"  # node finds the packages from where the file is
    script.write_text(program)
    try:
        said = run(
            "node",
            str(script),
            cwd=NODE,
            AORAY_URL=computer.url,
            WALLET=json.dumps(signer_to_jwk(generate_rsa())),
        )
    finally:
        script.unlink()
    assert said.splitlines()[-1] == "42"


def test_the_commands_work_in_the_order_shown(aoray: Command) -> None:
    process = aoray("spawn")["process"]
    count = "Count = (Count or 0) + 1; return Count"
    first = aoray("eval", process, count)
    assert first["result"]["Output"]["data"] == "1"
    assert aoray("eval", process, count)["result"]["Output"]["data"] == "2"
    sent = aoray("send", process, "hello", "--action", "Greet")
    result = aoray("result", sent["message"], "--process", process)
    assert "Greet" in result["Output"]["data"]
    assert aoray("result", "3", "--process", process) == result
    assert "Output" in aoray("dryrun", process, "--action", "Info")
    published = aoray("module", "publish", str(ROOT / "benchmarks" / "counter.wat"))
    counter = aoray("spawn", "--module", published["module"])["process"]
    assert aoray("send", counter, "--wait")["result"]["Output"]["data"]
    assert len(aoray("wallet")["address"]) == 43


def test_a_wrong_call_says_what_is_wrong(computer: LocalComputer, tmp_path: Path) -> None:
    done = attempt(computer, tmp_path, "send", "A" * 43)
    assert done.returncode == 1
    assert "A" * 43 in done.stderr and "Traceback" not in done.stderr


def test_an_answer_that_is_an_error_stops_a_script(
    computer: LocalComputer, aoray: Command, tmp_path: Path
) -> None:
    process = aoray("spawn")["process"]
    aoray("eval", process, "Handlers.add('bad', 'Bad', function() error('that is bad') end)")
    for words in (["send", "--wait"], ["dryrun"]):
        done = attempt(computer, tmp_path, words[0], process, "--action", "Bad", *words[1:])
        assert done.returncode == 1, done
        assert "that is bad" in done.stdout, done


def attempt(computer: LocalComputer, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command that may fail."""
    call = [sys.executable, "-m", "aoray", *words, "--url", computer.url]
    return subprocess.run(
        call,
        env={**os.environ, "AORAY_WALLET": str(tmp_path / "wallet.json")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
