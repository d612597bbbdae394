"""Logs as columns: every slot once, in order, with what it gave; as a table, as files, and in Ray Data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aoray
from aoray.client import arrow as columns
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

PROGRAM = """
Handlers.add("say", "Say", function(msg)
  if msg.Data == "fail" then error("as it was told") end
  Send({Target = ao.id, Action = "Heard", Data = msg.Data})
  print("said " .. msg.Data)
end)
"""
RAY_DATA = """
import sys, pyarrow.parquet as pq, ray
ray.init(address=sys.argv[2], log_to_driver=False, logging_level="ERROR")
ray.data.DataContext.get_current().enable_progress_bars = False
rows = ray.data.from_arrow(pq.read_table(sys.argv[1])).select_columns(["gas"]).take_all()
print(len(rows), sum(row["gas"] for row in rows))
"""


@pytest.fixture(scope="module")
def spoken(computer: LocalComputer) -> tuple[str, str]:
    """A process with something in its log, and the wallet that wrote it."""
    with aoray.connect(computer.url, wallet=aoray.new_wallet()) as ao:
        process = ao.spawn(PROGRAM)
        for data in ("first", "fail", "žluťoučký"):
            ao.ask(process, "Say", data, tags={"Twice": "a"})
        for _ in ao.results(process):
            pass  # waits for what it sent itself, as far as it is in the log
        list(zip(range(6), ao.results(process, follow=True), strict=False))
        return process, ao.address


def test_a_table_has_every_slot_and_what_it_gave(computer: LocalComputer, spoken: tuple[str, str]) -> None:
    process, owner = spoken
    table = aoray.log(process, computer.url, data=True)
    assert table.schema == columns.schema()
    assert table["nonce"].to_pylist() == list(range(6))
    assert set(table["process"].to_pylist()) == {process}
    by_data = {row["data"]: row for row in table.to_pylist() if row["action"] == "Say"}
    assert list(by_data) == ["first", "fail", "žluťoučký"]
    said, failed, long = by_data.values()
    assert (said["output"], said["error"], said["outbox"], said["owner"]) == ("said first", None, 1, owner)
    assert failed["outbox"] == 0 and "as it was told" in failed["error"]
    assert long["data_bytes"] == len("žluťoučký".encode())
    assert {"name": "Twice", "value": "a"} in said["tags"]
    assert all(table["evaluated"].to_pylist()) and min(table["gas"].to_pylist()) >= 0
    times = table["scheduled"].to_pylist()
    assert times == sorted(times)
    heard = [row for row in table.to_pylist() if row["action"] == "Heard"]
    assert [row["from_process"] for row in heard] == [process] * 2


def test_batches_are_bounded_and_go_on_where_one_says(
    computer: LocalComputer, spoken: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "ROWS", 2)
    process, _ = spoken
    with aoray.connect(computer.url, wallet=aoray.new_wallet()) as ao:
        found = list(ao.log_batches([process, process], after=0))
    assert [batch.num_rows for batch in found] == [2, 2, 2, 2, 2]
    assert [n for batch in found for n in batch["nonce"].to_pylist()] == [1, 2, 3, 4, 5] * 2
    assert {row for batch in found for row in batch["data"].to_pylist()} == {None}


def test_the_command_writes_files_that_others_read(
    computer: LocalComputer, spoken: tuple[str, str], tmp_path: Path
) -> None:
    process, _ = spoken
    parquet, arrow = tmp_path / "log.parquet", tmp_path / "log.arrow"
    for kind, file in (("parquet", parquet), ("arrow", arrow)):
        command = [
            "export",
            "--url",
            computer.url,
            "--format",
            kind,
            "-o",
            str(file),
            "--json",
            "--",
            process,
        ]
        said = subprocess.run(
            [sys.executable, "-m", "aoray", *command], capture_output=True, text=True, timeout=60, check=True
        )
        assert json.loads(said.stdout) == {"file": str(file), "rows": 6}
    with pa.ipc.open_file(arrow) as opened:
        assert opened.read_all() == pq.read_table(parquet) == aoray.log(process, computer.url)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_ray_data_takes_a_log(computer: LocalComputer, spoken: tuple[str, str], tmp_path: Path) -> None:
    table = aoray.log(spoken[0], computer.url)
    file = tmp_path / "log.parquet"
    pq.write_table(table, file)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(computer.data / "keys" / "ray-token")}
    done = subprocess.run(
        [sys.executable, "-c", RAY_DATA, str(file), computer.ray()[0]],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | token,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["6", str(sum(table["gas"].to_pylist()))]
