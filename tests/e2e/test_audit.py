"""`aoray verify` and `aoray replay` of a process of a real computer, by the command line."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from attested import flushed
from command_line import aoray_ran

from aoray.client import Client
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

MESSAGES = 30
PROGRAM = "Handlers.add('add', 'Add', function() N = (N or 0) + 1 print('sum ' .. N) end)"


async def test_what_a_computer_did_is_found_again_from_its_arweave_alone(
    computer: LocalComputer, client: Client, tmp_path: Path
) -> None:
    process = await client.spawn(data=PROGRAM, on_boot=True)
    sent = [await client.send(process, action="Add") for _ in range(MESSAGES)]
    last = await client.result(process, sent[-1])
    await flushed(computer, process, MESSAGES)

    gateway = ("--gateway", computer.unit(1))
    code, out, err = await aoray_ran("verify", process, *gateway, "--url", computer.url, "--json")
    assert code == 0, err
    report = orjson.loads(out)
    assert report["ok"] and (report["nonce"], report["errors"]) == (MESSAGES, 0)
    assert report["last_result"] == last and last["Output"]["data"] == f"sum {MESSAGES}"
    assert report["compared_with"] == computer.url

    code, out, err = await aoray_ran("verify", process, *gateway)
    assert code == 0, err
    assert f"is true up to nonce {MESSAGES}" in out and report["state_sha256"] in out
    assert "states are as" in out

    asked = ("--to", "10", "--action", "Add", "--json")
    code, out, err = await aoray_ran("replay", process, *gateway, *asked)
    assert code == 0, err
    assert orjson.loads(out)["dry_run"]["Output"]["data"] == "sum 11"

    bodies = tmp_path / "messages"
    bodies.write_text('{"Tags": [{"name": "Action", "value": "Add"}]}\n' * 2)
    code, out, err = await aoray_ran("replay", process, *gateway, "--to", "20", "--messages", str(bodies))
    assert code == 0, err
    state, *answers = out.splitlines()
    assert f"process {process} after nonce 20: state " in state
    assert [orjson.loads(line)["Output"]["data"] for line in answers] == ["sum 21", "sum 21"]
    bodies.write_text("[]")
    code, _, err = await aoray_ran("replay", process, *gateway, "--to", "20", "--messages", str(bodies))
    assert code == 2 and "is no JSON object" in err


async def test_a_process_that_is_not_on_arweave_is_said_to_be_missing(computer: LocalComputer) -> None:
    missing = "A" * 43
    code, out, err = await aoray_ran("verify", missing, "--gateway", computer.unit(1))
    assert (code, out) == (1, "") and f"process {missing} is not on Arweave" in err
    assert "is not what it says" not in err  # nobody lied
    code, out, _ = await aoray_ran("verify", missing, "--gateway", computer.unit(1), "--json")
    assert code == 1 and orjson.loads(out)["ok"] is False


async def test_without_a_gateway_the_computer_at_aoray_url_says_where_its_arweave_is(
    computer: LocalComputer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await client.spawn()
    await flushed(computer, process, 0)
    monkeypatch.setenv("AORAY_URL", computer.url)
    for command in (("verify", process), ("replay", process, "--to", "0")):
        code, out, err = await aoray_ran(*command)
        assert code == 0 and process in out, err
    monkeypatch.setenv("AORAY_URL", "http://127.0.0.1:1")
    code, _, err = await aoray_ran("verify", process)
    assert code == 1 and "does not answer" in err and "--gateway" in err
