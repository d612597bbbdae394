"""The chores of the Makefile: no test is left out, and what is missing is said in a sentence."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import programs
import pytest

ROOT = Path(__file__).parents[2]


def make(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=cwd, capture_output=True, text=True, check=False)


def given_to_pytest(chore: str) -> Counter[Path]:
    """How often `make` gives each file of tests to pytest."""
    found: Counter[Path] = Counter()
    for line in make("--dry-run", chore).stdout.splitlines():
        _, is_test, arguments = line.partition("-m pytest ")
        for each in re.findall(r"\btests/\S+", arguments) if is_test else ():
            path = ROOT / each
            found.update(files_of_tests(path) if path.is_dir() else [path])
    return found


def files_of_tests(folder: Path) -> list[Path]:
    not_ours = {"node_modules", ".ray-default"}
    return [path for path in folder.rglob("test_*.py") if not not_ours & set(path.parts)]


@pytest.mark.parametrize(("chore", "folder"), [("test", "tests"), ("check", "tests/unit")])
def test_every_test_is_run_once(chore: str, folder: str) -> None:
    assert given_to_pytest(chore) == Counter(files_of_tests(ROOT / folder))


def test_a_python_that_cannot_make_the_environment_is_told_in_a_sentence(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = make("install", "PYTHON=false", cwd=tmp_path)
    assert done.returncode
    assert "aoray needs Python 3.11 or later with its venv module" in done.stdout
    assert not (tmp_path / ".venv").exists()


def test_what_the_tests_lack_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert programs.lacking(["long"]) == ""
    monkeypatch.setattr(programs, "AOS_FOLDER", tmp_path / "nothing")
    assert programs.lacking(["long", "node"]).endswith("need packages of npm: run `make node_modules`.")
    monkeypatch.setitem(programs.WHEELS, "no_such_package", "no-such-wheel")
    assert programs.lacking([]) == "The tests need no-such-wheel of the dev dependencies: run `make install`."
