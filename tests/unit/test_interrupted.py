"""Ctrl-C at any moment of a start ends it in a sentence, with nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from aoray.__main__ import run
from aoray.cli import up
from aoray.runtime.computer import uninterrupted
from aoray.settings import Settings


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The signal handlers and the hook as they were."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGALRM
    before, hook = [signal.getsignal(number) for number in numbers], sys.unraisablehook
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    sys.unraisablehook = hook


def interrupt(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


class Interrupting:
    """Interrupts while it is finalized, where Python drops what is raised."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def as_another_error() -> None:
    """As Python does amid an import."""
    try:
        interrupt()
    except up.Stopped:
        raise TypeError("expected a message argument") from None


def in_a_finalizer() -> None:
    Interrupting()
    signal.pause()


def test_while_the_command_line_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aoray.cli.main", SimpleNamespace(main=interrupt))  # type: ignore[misc]
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "aoray: interrupted\n"


def test_ray_is_not_stopped_amid_its_start() -> None:
    """It would leave processes behind."""
    up._stop_on_signals()
    steps = []
    with pytest.raises(up.Stopped) as stopped, uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        steps.append("goes on")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ray does
        steps.append("is whole")
    assert steps == ["goes on", "is whole"]
    assert stopped.value.number == signal.SIGINT


@pytest.mark.parametrize(
    ("begin", "code"),
    [
        (interrupt, 130),
        (lambda: interrupt(signal.SIGTERM), 143),
        (as_another_error, 130),
        (in_a_finalizer, 130),
    ],
    ids=["Ctrl-C", "SIGTERM", "where Python makes another error of it", "where Python drops what is raised"],
)
@pytest.mark.timeout(20)
def test_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    begin: Callable[[], Any],
    code: int,
) -> None:
    monkeypatch.setattr(up.preflight, "check", lambda _: begin())
    with pytest.raises(SystemExit) as ended:
        up._run(Settings(data=tmp_path))
    assert ended.value.code == code
    assert capsys.readouterr().err == "stopped before anything was started\n"


def test_later_too_whatever_is_made_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def started(_: Settings) -> None:
        up._stop_on_signals()
        as_another_error()

    monkeypatch.setattr(up, "_run", started)
    ended = CliRunner().invoke(up.up, ["--data", str(tmp_path)])
    assert (ended.exit_code, ended.output) == (0, "stopped\n")
