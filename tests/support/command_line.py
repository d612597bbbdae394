"""`aoray` as people run it: the command, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SECONDS_MAX = 300


class Ran(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def aoray(
    *words: str | Path, code: int | None = 0, stdin: str = "", cwd: Path | None = None, **variables: str
) -> Ran:
    """Run it, with more variables in its environment; it must end with that code (None: any)."""
    done = subprocess.run(
        [sys.executable, "-m", "aoray", *map(str, words)],
        cwd=cwd,
        env=os.environ | variables,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    ran = Ran(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in ran.err, ran.err
    assert code in (None, ran.code), ran
    return ran


async def aoray_ran(*words: str | Path, **variables: str) -> Ran:
    """The same for a test that does something meanwhile, whatever its code."""
    return await asyncio.to_thread(lambda: aoray(*words, code=None, **variables))
