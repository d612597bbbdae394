"""A data directory that has a log keeps the keys that signed it: what is missing or changed is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from scheduling import committer, message, spawn

from aoray.errors import ClientError
from aoray.keyfiles import KEY_NAMES, UNITS, KeyName, load, load_key, load_or_make, units_of
from aoray.scheduler.reader import log_path
from aoray.settings import Settings
from aoray.unit_keys import keep_keys


def begun(data: Path) -> Settings:
    """A directory in which a computer ran, and ordered something."""
    settings = Settings(data=data)
    keep_keys(settings)
    process = spawn()
    writer = committer(log_path(settings, 0), signer=load_key(settings, "scheduler"))
    writer.commit([process, message(process.process_id)], now_ms=1_700_000_000_000, block_height=7)
    writer.close()
    return settings


def files(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in [*(data / "keys").iterdir(), data / UNITS]}


def test_the_keys_of_a_new_directory_are_made_and_written_down(tmp_path: Path) -> None:
    settings = begun(tmp_path)
    found = files(tmp_path)
    keep_keys(settings)
    assert files(tmp_path) == found
    units = units_of(tmp_path)
    assert {name: held[-1].address for name, held in units.items()} == {
        name: load(tmp_path / "keys" / f"{name}.json").address for name in KEY_NAMES
    }
    assert all(len(held) == 1 and held[0].since.endswith("Z") for held in units.values())


@pytest.mark.parametrize("name", KEY_NAMES)
def test_a_missing_key_is_refused_and_nothing_is_made(tmp_path: Path, name: KeyName) -> None:
    settings = begun(tmp_path)
    path = tmp_path / "keys" / f"{name}.json"
    address = load(path).address
    path.unlink()
    left = files(tmp_path)
    with pytest.raises(ClientError, match=rf"missing in .*: {name} \({address}\)") as refused:
        keep_keys(settings)
    assert "aoray keys restore" in refused.value.hint
    with pytest.raises(ClientError, match=f"the {name} key .* is missing: that of {address}"):
        load_key(settings, name)  # an actor that starts again while the computer runs
    assert files(tmp_path) == left


@pytest.mark.parametrize("name", KEY_NAMES)
def test_another_key_is_refused(tmp_path: Path, name: KeyName) -> None:
    settings = begun(tmp_path)
    path = tmp_path / "keys" / f"{name}.json"
    address = load(path).address
    path.unlink()
    other = load_or_make(path).address
    left = files(tmp_path)
    for ask in (lambda: keep_keys(settings), lambda: load_key(settings, name)):
        with pytest.raises(ClientError, match=f"is that of {other}, and the log's {name} is {address}"):
            ask()
    assert files(tmp_path) == left


def test_all_keys_gone_and_another_directory_of_keys_are_refused(tmp_path: Path) -> None:
    settings = begun(tmp_path)
    other = Settings(data=tmp_path, keys=str(tmp_path / "others"))
    with pytest.raises(ClientError, match=r"missing in .*others: scheduler .*, authority .*, compute"):
        keep_keys(other)
    assert not (tmp_path / "others").exists()
    for name in KEY_NAMES:
        load_or_make(tmp_path / "others" / f"{name}.json")
    with pytest.raises(ClientError, match="the log's scheduler is"):
        keep_keys(other)
    keep_keys(settings)


def test_of_a_directory_of_an_earlier_version_the_log_says_who_its_scheduler_is(tmp_path: Path) -> None:
    settings = begun(tmp_path)
    (tmp_path / UNITS).unlink()
    path = tmp_path / "keys" / "scheduler.json"
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(ClientError, match="missing"):
        keep_keys(settings)
    load_or_make(path)
    with pytest.raises(ClientError, match="the log's scheduler is"):
        keep_keys(settings)
    assert not (tmp_path / UNITS).exists()
    path.write_bytes(kept)
    (tmp_path / "keys" / "compute.json").rename(tmp_path / "compute.json")
    with pytest.raises(ClientError, match=r"missing in .*: compute"):
        keep_keys(settings)
    (tmp_path / "compute.json").rename(tmp_path / "keys" / "compute.json")
    keep_keys(settings)
    assert list(units_of(tmp_path)) == list(KEY_NAMES)


def test_without_a_log_nobody_depends_on_the_keys(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    keep_keys(settings)
    first = units_of(tmp_path)
    (tmp_path / "keys" / "authority.json").unlink()
    keep_keys(settings)
    units = units_of(tmp_path)
    assert units["authority"] != first["authority"] and units["scheduler"] == first["scheduler"]
    assert units["authority"][-1].address == load_key(settings, "authority").address


@pytest.mark.parametrize("content", ["", "{", "[]", '{"scheduler": 7}', '{"scheduler": [[]]}'])
def test_a_spoiled_note_is_named(tmp_path: Path, content: str) -> None:
    settings = begun(tmp_path)
    (tmp_path / UNITS).write_text(content)
    with pytest.raises(ClientError, match=UNITS):
        keep_keys(settings)
