"""The environment of a Ray that `aoray up` starts: its variables, and its directory of sockets and logs.

Ray reads the variables when it is imported, so `prepare` must be called before.

Ray's ports are open to the network, and whoever reaches them may run any code. So Ray is told to require a
token, a file among the computer's keys with mode 0600. Ray also runs its workers at niceness 15, as batch
work; but servers must not yield to their own clients, so this is set to 0. On an existing cluster
(`ray_address`) the cluster's own variables apply.

Ray opens its directory to everybody (mode 0777), and uses an existing one, whoever made it. So it gets a
directory within one that was newly made with mode 0700.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aoray.settings import Settings
from aoray.storage import durable_files
from aoray.storage.key_files import private

TOKEN_BYTES = 32


def prepare(settings: Settings) -> None:
    """Set the environment variables for a computer that starts its own Ray."""
    if not settings.ray_address:
        os.environ |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(_token(settings.keys_directory / "ray-token")),
            "RAY_worker_niceness": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }


def _token(path: Path) -> Path:
    """Return the file of the token. It is written anew if it is missing, or incomplete after a power cut."""
    durable_files.make_directory(path.parent, mode=0o700)
    if not path.exists() or len(private(path)) != 2 * TOKEN_BYTES:  # refused if others may read it
        durable_files.write_atomic(path, secrets.token_hex(TOKEN_BYTES).encode())
    return path


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Make a directory for Ray under /tmp that others can't enter. (The paths of Unix sockets must be short.)

    A directory that an earlier run left under this name is removed. If the name belongs to another user,
    another name is used.
    """
    place = Path(tempfile.gettempdir()) / name
    if _is_own_directory(place):
        shutil.rmtree(place, ignore_errors=True)
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        place = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    try:
        yield place / "ray"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _is_own_directory(path: Path) -> bool:
    try:
        found = path.lstat()  # does not follow a link
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
