"""What would keep a computer from starting is said in a sentence."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from aoray.errors import AorayError, ClientError, Unavailable
from aoray.limits import DISK_FREE_BYTES_MIN
from aoray.runtime import preflight
from aoray.settings import Settings
from aoray.storage import durable_files


def test_a_disk_that_is_full_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert durable_files.disk_fault(tmp_path) == ""
    assert durable_files.disk_fault(tmp_path / "not" / "there" / "yet") == ""
    full = SimpleNamespace(f_bavail=DISK_FREE_BYTES_MIN // 4096 - 1, f_frsize=4096)
    monkeypatch.setattr("aoray.storage.durable_files.os.statvfs", lambda _: full)
    assert "is full" in durable_files.disk_fault(tmp_path)
    with pytest.raises(ClientError, match="is full"):
        preflight.check_data(Settings(data=tmp_path))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (PermissionError(13, "Permission denied", "/data/log"), "/data/log: Permission denied"),
        (sqlite3.DatabaseError("database disk image is malformed"), "image is malformed"),
        (ValueError("one line\nand another"), "one line"),
        (KeyError(), "KeyError"),
        (Unavailable("as it is"), "as it is"),
    ],
)
def test_any_fault_becomes_a_sentence(error: Exception, said: str) -> None:
    found = preflight.sentence(error)
    assert isinstance(found, AorayError) and said in found.message and "\n" not in found.message


def test_a_database_that_is_sound_passes(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "log-0.sqlite").execute("CREATE TABLE t (a)").connection.close()
    preflight.check_data(Settings(data=tmp_path))
    os.truncate(tmp_path / "log-0.sqlite", 100)
    with pytest.raises(ClientError, match="damaged"):
        preflight.check_data(Settings(data=tmp_path))
