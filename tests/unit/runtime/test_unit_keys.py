"""A data directory that has a log keeps the keys that signed it: what is missing or changed is refused."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import orjson
import pytest
from ordering import committer, message, process_tags, spawn

from aoray.errors import ClientError
from aoray.protocol.ans104.items import parse, verify
from aoray.protocol.handovers import hand_over_of
from aoray.protocol.ids import b64url_decode
from aoray.runtime import unit_keys
from aoray.runtime.unit_keys import backup, keep_keys, read_backup, restore, rotate, show
from aoray.settings import Settings
from aoray.storage.factory import claim_store
from aoray.storage.key_files import KEY_NAMES, UNITS, KeyName, load, load_key, load_or_make, units_of
from aoray.storage.sqlite_store import log_path


def begun(data: Path) -> Settings:
    """A directory in which a computer ran, and ordered something."""
    settings = Settings(data=data)
    keep_keys(settings)
    scheduler = load_key(settings, "scheduler")
    process = spawn(tags=process_tags(scheduler.address))
    writer = committer(log_path(settings, 0), signer=scheduler)
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


def test_a_log_that_was_put_beside_other_keys_is_refused_until_its_own_are_restored(tmp_path: Path) -> None:
    """The keys come later than the log, or never: the directory has made its own meanwhile."""
    theirs, settings = begun(tmp_path / "theirs"), Settings(data=tmp_path / "data")
    backup(theirs, tmp_path / "backup.json")
    keep_keys(settings)
    for file in theirs.data.glob("log-0.sqlite*"):
        file.rename(settings.data / file.name)
    left = files(settings.data)
    with pytest.raises(
        ClientError, match="the log's scheduler is " + units_of(theirs.data)["scheduler"][0].address
    ):
        keep_keys(settings)
    assert files(settings.data) == left and show(settings)[0].fault
    restore(settings, read_backup(tmp_path / "backup.json"))
    keep_keys(settings)
    assert units_of(settings.data) == units_of(theirs.data)


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


@pytest.mark.parametrize("passphrase", [b"", b"correct horse"])
def test_a_backup_gives_a_directory_its_keys_back(tmp_path: Path, passphrase: bytes) -> None:
    settings, file = begun(tmp_path / "data"), tmp_path / "backup.json"
    left = files(tmp_path / "data")
    said = backup(settings, file, passphrase)
    assert said == {name: held[-1].address for name, held in units_of(settings.data).items()}
    assert file.stat().st_mode & 0o777 == 0o600
    for name in KEY_NAMES:
        secret = orjson.loads(left[f"{name}.json"])["d"]
        assert (b"ENCRYPTED" in file.read_bytes()) == bool(
            passphrase
        ) and secret.encode() not in file.read_bytes()
        (settings.data / "keys" / f"{name}.json").unlink()
    (settings.data / UNITS).unlink()
    done = restore(settings, read_backup(file), passphrase)
    assert done == dict.fromkeys(KEY_NAMES, "restored")
    assert files(tmp_path / "data") == left
    keep_keys(settings)
    assert set(restore(settings, read_backup(file), passphrase).values()) == {"was there"}
    moved = Settings(data=tmp_path / "moved")  # a new machine, before its first start
    moved.data.mkdir()
    restore(moved, read_backup(file), passphrase)
    assert files(moved.data) == left


def test_a_backup_needs_its_passphrase_and_replaces_no_file(tmp_path: Path) -> None:
    settings, file = begun(tmp_path), tmp_path / "backup.json"
    backup(settings, file, b"right")
    content = file.read_bytes()
    with pytest.raises(ClientError, match="exists already"):
        backup(settings, file, b"right")
    assert file.read_bytes() == content
    left = files(tmp_path)
    for wrong in (b"wrong", b""):
        with pytest.raises(ClientError, match="can't be read"):
            restore(settings, read_backup(file), wrong)
    file.chmod(0o644)
    with pytest.raises(ClientError, match="others may read"):
        read_backup(file)
    assert files(tmp_path) == left


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format": "aoray-keys-1"}', b'{"format": 1, "units": {}}']
)
def test_what_is_not_a_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "backup.json"
    file.touch(mode=0o600)
    file.write_bytes(content)
    with pytest.raises(ClientError, match="is not a backup"):
        read_backup(file)


def test_another_computer_s_backup_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    settings, other = begun(tmp_path / "data"), begun(tmp_path / "other")
    backup(other, tmp_path / "backup.json")
    left = files(settings.data)
    with pytest.raises(ClientError, match="nothing was changed"):
        restore(settings, read_backup(tmp_path / "backup.json"))
    for name in KEY_NAMES:  # nor when its own are gone
        (settings.data / "keys" / f"{name}.json").unlink()
    with pytest.raises(ClientError, match="nothing was changed"):
        restore(settings, read_backup(tmp_path / "backup.json"))
    assert files(settings.data) == {UNITS: left[UNITS]}


def test_the_right_key_takes_the_place_of_a_wrong_one_which_is_kept(tmp_path: Path) -> None:
    settings, path = begun(tmp_path), tmp_path / "keys" / "compute.json"
    backup(settings, tmp_path / "backup.json")
    address = load(path).address
    path.unlink()
    wrong = load_or_make(path).address
    done = restore(settings, read_backup(tmp_path / "backup.json"))
    assert load(path).address == address and wrong in done["compute"] and done["scheduler"] == "was there"
    assert load(path.with_name(f"compute.{wrong}.json")).address == wrong
    keep_keys(settings)


def test_what_is_shown_says_what_is_wrong(tmp_path: Path) -> None:
    nothing = show(Settings(data=tmp_path / "nothing"))
    assert all("there is none yet" in each.fault and not each.address for each in nothing)
    settings = begun(tmp_path)
    shown = show(settings)
    assert [each.unit for each in shown] == list(KEY_NAMES) and not any(each.fault for each in shown)
    assert shown[0].address == load_key(settings, "scheduler").address and shown[0].since.endswith("Z")
    (tmp_path / "keys" / "authority.json").unlink()
    faults = {each.unit: (each.fault, each.address) for each in show(settings)}
    assert "is missing" in faults["authority"][0] and faults["authority"][1] == shown[1].address
    assert not faults["scheduler"][0]


@pytest.mark.parametrize("name", ["scheduler", "compute"])
def test_a_rotated_key_is_handed_over_to_and_the_old_one_is_kept(tmp_path: Path, name: KeyName) -> None:
    settings = begun(tmp_path)
    old_address = load_key(settings, name).address
    old, new = rotate(settings, name)
    path = tmp_path / "keys" / f"{name}.json"
    assert (old.address, load(path).address) == (old_address, new.address)
    assert load(path.with_name(f"{name}.{old_address}.json")).address == old_address
    assert load_key(settings, name).address == new.address
    statement = parse(b64url_decode(new.hand_over))
    verify(statement)
    assert hand_over_of(statement) == (name, old_address, new.address, new.after_ms)
    assert new.after_ms >= 1_700_000_000_000
    keep_keys(settings)
    shown = {each.unit: each for each in show(settings)}
    assert shown[name].earlier == [old_address] and shown[name].address == new.address
    assert not any(each.fault for each in shown.values())
    newest = rotate(settings, name)[1]
    assert [held.address for held in units_of(tmp_path)[name]] == [old_address, new.address, newest.address]
    assert newest.after_ms >= new.after_ms


def test_a_hand_over_is_after_every_slot_whatever_the_clock_says(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    keep_keys(settings)
    late = 4_000_000_000_000
    scheduler = load_key(settings, "scheduler")
    writer = committer(log_path(settings, 0), signer=scheduler)
    writer.commit([spawn(tags=process_tags(scheduler.address))], now_ms=late, block_height=7)
    writer.close()
    assert rotate(settings, "scheduler")[1].after_ms == late


@pytest.mark.parametrize("written", [False, True])
def test_a_rotation_that_was_cut_off_leaves_the_old_key_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    settings = begun(tmp_path)
    old = load_key(settings, "scheduler").address

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if written:
            real, calls = unit_keys.finish_rotation, iter((False, True))
            patched.setattr(unit_keys, "finish_rotation", lambda s: cut() if next(calls) else real(s))
        else:
            patched.setattr(unit_keys, "write_units", cut)
        with pytest.raises(KeyboardInterrupt):
            rotate(settings, "scheduler")
    keep_keys(settings)
    now = load_key(settings, "scheduler").address
    assert (now != old) == written and units_of(tmp_path)["scheduler"][-1].address == now
    assert not list((tmp_path / "keys").glob("*.next.json"))


def test_a_rotation_claims_the_store_with_the_shards_that_the_directory_was_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, claimed = begun(tmp_path), list[int]()
    (tmp_path / "shards").write_text("3")

    def claim(settings: Settings, computer: str) -> AbstractContextManager[None]:
        claimed.append(settings.shards)
        return claim_store(settings, computer)

    monkeypatch.setattr(unit_keys, "claim_store", claim)
    rotate(settings, "compute")
    assert claimed == [3]


def test_a_messenger_is_not_rotated_and_an_empty_directory_has_nothing_to_rotate(tmp_path: Path) -> None:
    settings = begun(tmp_path / "data")
    left = files(settings.data)
    with pytest.raises(ClientError, match="the messenger's key can't be rotated"):
        rotate(settings, "authority")
    assert files(settings.data) == left
    with pytest.raises(ClientError, match="no computer has run"):
        rotate(Settings(data=tmp_path / "empty"), "scheduler")


def test_a_backup_from_before_a_rotation_does_not_fit_and_one_from_after_it_does(tmp_path: Path) -> None:
    settings, before, after = begun(tmp_path / "data"), tmp_path / "before", tmp_path / "after"
    backup(settings, before)
    rotate(settings, "scheduler")
    backup(settings, after)
    with pytest.raises(ClientError, match="nothing was changed"):
        restore(settings, read_backup(before))
    left = files(settings.data)
    for path in [*(settings.data / "keys").iterdir(), settings.data / UNITS]:
        path.unlink()
    restore(settings, read_backup(after))  # the log knows the old scheduler only
    assert files(settings.data).items() <= left.items()
    keep_keys(settings)
    assert len(units_of(settings.data)["scheduler"]) == 2
