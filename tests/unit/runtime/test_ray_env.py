"""The directory under /tmp in which Ray runs: nobody else enters it, and nobody else's is taken over."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from aoray.runtime import ray_env
from aoray.runtime.ray_env import scratch


@pytest.fixture(autouse=True)
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_it_is_for_its_owner_only_and_goes_away(tmp: Path) -> None:
    old = os.umask(0)
    try:
        with scratch("aoray-x") as directory:
            directory.mkdir(mode=0o777)  # as Ray makes it
            assert directory.parent == tmp / "aoray-x" and mode(directory.parent) == 0o700
    finally:
        os.umask(old)
    assert list(tmp.iterdir()) == []


def test_what_an_earlier_run_left_is_removed_with_its_mode(tmp: Path) -> None:
    (tmp / "aoray-x" / "ray").mkdir(parents=True)
    (tmp / "aoray-x").chmod(0o777)
    (tmp / "aoray-x" / "ray" / "left").touch()
    with scratch("aoray-x") as directory:
        assert not directory.exists() and mode(directory.parent) == 0o700


def test_a_link_is_not_followed(tmp: Path) -> None:
    theirs = tmp / "theirs"
    theirs.mkdir()
    (theirs / "file").touch()
    (tmp / "aoray-x").symlink_to(theirs)
    with scratch("aoray-x") as directory:
        directory.mkdir()
        assert directory.parent.resolve().parent == tmp.resolve() and directory.parent.name != "aoray-x"
        assert mode(directory.parent) == 0o700
    assert [each.name for each in theirs.iterdir()] == ["file"] and (tmp / "aoray-x").is_symlink()


def test_a_directory_of_somebody_else_is_left_alone(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp / "aoray-x"
    theirs.mkdir(mode=0o777)
    (theirs / "file").touch()
    monkeypatch.setattr(ray_env.os, "geteuid", lambda: theirs.stat().st_uid + 1)
    with scratch("aoray-x") as directory:
        assert directory.parent != theirs and mode(directory.parent) == 0o700
    assert (theirs / "file").exists() and [each.name for each in tmp.iterdir()] == ["aoray-x"]
