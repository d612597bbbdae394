"""Every workload of `python -m benchmarks` runs, at its smallest, and gives its columns; runs can be
compared, and drawn. One computer serves all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aoray.testing.local_computer import LocalComputer
from benchmarks import __main__, goals, plot
from benchmarks.compare import differences, read
from benchmarks.report import Report, merged
from benchmarks.running import shared
from benchmarks.workloads import workloads

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

FEW = "--processes 2 --messages 20"
SMALLEST = {
    "throughput": (f"--module lua,counter {FEW} --clients 1,4", {"messages_per_s", "p99_ms", "server_us"}),
    "latency": (f"{FEW} --rate 50,100", {"p50_ms", "p99_ms", "server_mib", "restarted"}),
    "aos_eval": (f"--module lua {FEW} --clients 2", {"messages_per_s", "server_cpu_s"}),
    "token_transfer": (f"{FEW} --clients 4", {"payments_per_s", "credits_after_s", "server_us"}),
    "flush": (f"{FEW} --clients 4", {"entries_per_s", "oldest_s_max", "drained_s"}),
    "scale": (f"{FEW} --clients 4 --cores 1,2", {"speedup", "messages_per_s"}),
    "crypto": ("--seconds 0.01 --threads 1", {"per_s", "cpu_us_each"}),
    "recovery": (
        "--processes 2 --messages 1 --kill ProcessActor",
        {"first_answer_s", "last_answer_s", "restarted"},
    ),
    "overload": (f"{FEW} --clients 4 --seconds 1", {"kept", "refused", "p99_ms", "memory_mib"}),
    "density": ("--processes 3 --idle-seconds 1", {"asleep_kib_each", "disk_kib_each"}),
    "many": ("--processes 20 --messaged 4 --seconds 0.1", {"disk_kib_each", "maps_max", "restarted"}),
    "replay": (f"{FEW} --clients 4 --at-once 2", {"verify_per_s", "times_live", "attested"}),
    "spawn": ("--spawns 8 --clients 1,4", {"spawns_per_s", "p99_ms", "server_us"}),
    "ring": ("--processes 3 --hops 12 --tokens 1,2", {"hops_per_s", "hop_ms", "server_us"}),
    "fan_out": ("--fan 5 --rounds 2", {"messages_per_s", "server_us"}),
    "wake": ("--processes 3 --idle-seconds 1", {"p99_ms"}),
}


@pytest.fixture(scope="module")
def computer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalComputer]:
    hasty = {"AORAY_FLUSH_INTERVAL_MS": "100", "AORAY_ATTEST_INTERVAL_MS": "100"}
    settings = {"AORAY_IDLE_SECONDS_MAX": "1", **hasty}
    data = tmp_path_factory.mktemp("workloads") / "data"
    with LocalComputer(data, environment=settings) as opened:
        yield opened


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.density.REST_S", 0.0)
    monkeypatch.setattr("benchmarks.replay.LOOK_S", 0.1)


@pytest.mark.parametrize("name", SMALLEST)
def test_a_workload_gives_its_columns(
    name: str, computer: LocalComputer, no_rest: None, tmp_path: Path
) -> None:
    options, columns = SMALLEST[name]
    file = tmp_path / "run.json"
    with shared(computer):
        assert __main__.main([name, *options.split(), "--json", str(file)]) == 0
    document = read(file)
    assert document["rows"]
    for row in document["rows"]:
        assert columns <= row.keys()
        assert not row.get("failed")
    assert document["machine"]["cores"]
    assert document["commit"]
    assert document["seed"] == 1
    assert all(len(sha256) == 64 for sha256 in document["modules"].values())
    assert document["modules"] or name == "crypto"


@pytest.mark.timeout(300)  # it starts a computer of its own, which writes down each of its calls
def test_the_three_trips_of_a_message_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    assert __main__.main(["trips", "--messages", "2", "--json", str(file)]) == 0
    rows = read(file)["rows"]
    assert [row["trip"] for row in rows] == ["post", "result", "actor"]
    for row in rows:
        assert row["calls"] >= row["functions"] >= row["files"] > 5
        assert row["calls"] > row["moves"] >= row["files"] - 1


def test_every_workload_is_described() -> None:
    text = __main__.listing(workloads())
    for workload in workloads().values():
        assert workload.name in text
        assert len(workload.description) > 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("crypto --compare /nowhere.json", "/nowhere.json"),
        ("throughput --url http://127.0.0.1:1", "does not answer"),
        ("throughput --module nowhere.wasm", "nowhere.wasm"),
    ],
)
def test_what_can_not_be_measured_is_said_in_a_line(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(words.split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def run_of(rows: list[dict[str, object]]) -> Report:
    return Report("throughput", "a load", {"seed": 1}, rows)


def test_repetitions_give_median_and_spread() -> None:
    runs = [
        run_of([{"module": "lua", "clients": 4, "messages_per_s": rate, "restarted": restarted}])
        for rate, restarted in ((300.0, ""), (100.0, "ShardActor 1x"), (200.0, ""))
    ]
    (row,) = merged(runs).rows
    assert row["messages_per_s"] == 200.0
    assert row["clients"] == 4
    assert row["spread"] == {"messages_per_s": [100.0, 300.0]}
    assert row["restarted"] == "ShardActor 1x"


def test_two_runs_are_compared_row_by_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer = tmp_path / "peer.json"
    before = run_of(
        [{"module": name, "clients": 4, "messages_per_s": 100.0, "failed": 0} for name in ("aos", "lua")]
    )
    peer.write_text(before.json())
    mine = run_of([{"module": "lua", "clients": 4, "messages_per_s": 250.0, "failed": 0}])
    __main__.say(mine, "", read(peer))
    said = capsys.readouterr().out
    assert "2.5" in said
    assert "the same" in said
    other = before.document() | {"commit": "other", "versions": {"ray": "1"}}
    assert {"commit", "versions ray"} <= {
        line.partition(":")[0] for line in differences(mine.document(), other)
    }


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_runs_are_drawn(kind: str, tmp_path: Path) -> None:
    rows = [{"module": "lua", "clients": n, "messages_per_s": 100.0 * n} for n in (1, 16)]
    latency = [{"module": "lua", "rate": r, "p50_ms": 1, "p90_ms": 2, "p99_ms": 3} for r in (10, 20)]
    scale = [{"module": "lua", "cores": n, "nodes": 1, "messages_per_s": 100.0 * n} for n in (1, 2)]
    files = []
    for name, of_it in (("throughput", rows), ("latency", latency), ("scale", scale)):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(Report(name, "", {}, of_it).json())
    assert plot.main([*map(str, files), "--to", str(tmp_path / "to"), "--format", kind]) == 0
    made = {file.name: file.read_bytes()[:4] for file in (tmp_path / "to").iterdir()}
    assert made.keys() == {f"{name}.{kind}" for name in ("throughput", "latency", "cores")}
    assert set(made.values()) == {b"<?xm" if kind == "svg" else b"\x89PNG"}


def test_a_row_of_the_goals_says_what_came_of_its_command() -> None:
    goal = next(goal for goal in goals.GOALS if goal.words.startswith("throughput --module lua"))
    spread = {"messages_per_s": [1400.0, 2200.5]}
    parts = {"GatewayActor": 300, "ShardActor": 100}
    rows = [{"module": "lua", "messages_per_s": 2000.0, "server_us": parts, "spread": spread}]
    document = Report("throughput", "", {}, rows).document()
    said = goals.row_of(goal, document, [])
    assert "**2,000.0** (1,400.0 to 2,200.5) msg/s" in said
    assert "| met | GatewayActor 300 µs; ShardActor 100 µs |" in said
    assert "not measured: it took too long" in goals.row_of(goal, "it took too long", [])
    assert goals.half_of_peak({goal.words: document}) == "1000"


def test_the_commands_of_the_goals_are_commands() -> None:
    known = workloads()
    for goal in goals.GOALS:
        words = goal.asked.format(half="100").split()
        if words[0] in known:
            assert __main__.parser_of(known).parse_args(words).name == words[0]
