"""Writes down which functions of aoray this Python process enters: a line each, with the time and the file.

`trips` puts this file on the PYTHONPATH of a computer as `sitecustomize.py`, so every process of it records
itself, from its first line on. Lines go to `$AORAY_CALLS_TO/<pid>`, each at once: `<ns of the monotonic
clock> <file> <function>`. A coroutine or a generator that goes on is not entered again; modules, classes and
the comprehensions of a function are no functions. Elsewhere (no such variable) importing it does nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import FrameType
from typing import Any

TO = "AORAY_CALLS_TO"
PACKAGE = f"{os.sep}aoray{os.sep}"
RESUMED = 0b11  # the low bits of the argument of RESUME: 0 where a function begins


def record(directory: str) -> None:
    """Record this process from now on, on all its threads."""
    opened: dict[int, int] = {}  # by pid: a child has a file of its own

    def enter(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or PACKAGE not in code.co_filename or not _is_function(frame):
            return
        pid = os.getpid()
        if pid not in opened:
            opened[pid] = os.open(f"{directory}{os.sep}{pid}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        file = code.co_filename.rpartition(PACKAGE)[2]
        os.write(opened[pid], f"{time.monotonic_ns()} {file} {code.co_qualname}\n".encode())

    threading.setprofile(enter)
    sys.setprofile(enter)


def _is_function(frame: FrameType) -> bool:
    name = frame.f_code.co_name
    if (name.startswith("<") and name != "<lambda>") or not frame.f_code.co_flags & 0x02:  # CO_NEWLOCALS
        return False
    return not frame.f_code.co_code[frame.f_lasti + 1] & RESUMED


if TO in os.environ:
    record(os.environ[TO])
