"""A log that an earlier aoray left behind is brought to today's tables as it is opened: all of it, or nothing
if that fails, in either store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from old_logs import OldLog, in_postgres, unpacked
from postgres_server import PostgresServer

from aoray.errors import ClientError, Unavailable
from aoray.protocol.signed import ANS104
from aoray.runtime.unit_keys import scheduler_of_log
from aoray.settings import Settings
from aoray.storage import log
from aoray.storage.factory import check_versions, open_log, open_readers, upgrade_logs
from aoray.storage.key_files import load
from aoray.storage.postgres import Database, parse_store_url
from aoray.storage.postgres_log import schema_of


@pytest.fixture
def old(tmp_path: Path) -> OldLog:
    return unpacked("engine-1", tmp_path / "data")


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, old: OldLog) -> Settings:
    """A computer with that log in each of the stores in turn."""
    if request.param == "sqlite":
        return Settings(data=old.data)
    server: PostgresServer = request.getfixturevalue("postgres")
    stored = Settings(data=old.data, store=server.new_url())
    in_postgres("engine-1", old, stored.store)
    return stored


def file_of(settings: Settings) -> Path:
    return settings.data / "log-0.sqlite"


def version_of(settings: Settings) -> int:
    if settings.store:
        url = parse_store_url(settings.store)
        with closing(Database(url, schema_of(url, 0))) as db:
            return db.version()
    with closing(sqlite3.connect(file_of(settings))) as lite:
        return int(lite.execute("PRAGMA user_version").fetchone()[0])


def test_an_old_log_is_brought_on_whole_or_not_at_all(
    settings: Settings, old: OldLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert version_of(settings) == 2
    broken = {**log.UPGRADES, 2: log.UPGRADES[2] + "INSERT INTO nowhere VALUES (1);\n"}
    with monkeypatch.context() as patch:
        patch.setattr(log, "UPGRADES", broken)
        with pytest.raises(Unavailable):
            upgrade_logs(settings)
    assert version_of(settings) == 2
    upgrade_logs(settings)
    assert version_of(settings) == log.SCHEMA_VERSION
    reader = open_readers(settings)
    for process_id in old.process_ids():
        entries = reader.entries(process_id)
        assert entries == [entry for entry, _ in old.entries(process_id)]
        assert {entry.envelope for entry in entries} == {ANS104}


def test_an_old_log_has_the_same_tables_afterwards_as_a_new_one(old: OldLog, tmp_path: Path) -> None:
    def columns(settings: Settings) -> dict[str, list[tuple[object, ...]]]:
        with closing(open_log(settings, 0)) as opened:
            opened.take_over()
        with closing(sqlite3.connect(file_of(settings))) as lite:
            tables = lite.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            return {name: lite.execute(f"PRAGMA table_info({name})").fetchall() for (name,) in tables}

    assert columns(Settings(data=old.data)) == columns(Settings(data=tmp_path / "new"))


def test_an_old_log_that_is_only_looked_at_stays_as_it_is(settings: Settings, old: OldLog) -> None:
    """`aoray keys show` looks, and so does a start that is refused; who wrote the log may still run."""
    check_versions(settings)
    assert scheduler_of_log(settings) == load(old.data / "keys" / "scheduler.json").address
    assert version_of(settings) == 2
    with closing(open_log(settings, 0)) as opened:
        opened.take_over()
    assert version_of(settings) == log.SCHEMA_VERSION


def test_a_log_of_a_later_aoray_is_refused_and_stays_as_it_is(settings: Settings) -> None:
    open_log(settings, 0).close()
    later = log.SCHEMA_VERSION + 1
    if settings.store:
        url = parse_store_url(settings.store)
        with closing(Database(url, schema_of(url, 0))) as db, db.transaction() as writing:
            writing.execute("UPDATE version SET version = ?", [later])
    else:
        with closing(sqlite3.connect(file_of(settings))) as lite:
            lite.execute(f"PRAGMA user_version = {later}")
    for opened in (check_versions, lambda each: open_log(each, 0)):
        with pytest.raises(ClientError, match="was made by a later version of aoray") as refused:
            opened(settings)
        assert "\n" not in refused.value.message and refused.value.hint
    assert version_of(settings) == later
