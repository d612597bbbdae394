"""A real PostgreSQL for tests, in a directory and on a port of its own; it ends with them.

As root it runs as the user `nobody` (it refuses root). `setpriv` has the kernel end it if the tests are
killed. It syncs as in earnest.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import programs
import psycopg
from polling import wait_until

from aoray.testing.local_computer import free_ports

SECONDS_MAX = 60


class PostgresServer:
    """The server, from entering it on; it can be killed and started again on the same data."""

    def __init__(self) -> None:
        self.port = free_ports()
        self._folder = Path(tempfile.mkdtemp(prefix="aoray-postgres-", dir="/tmp"))
        self._as_user = ["setpriv", "--pdeathsig", "QUIT"]
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as_user += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self._programs = programs.postgres_copied(self._folder)
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, schema: str) -> str:
        """For `--store`."""
        return f"postgresql://aoray@127.0.0.1:{self.port}/postgres?schema={schema}"

    def new_url(self) -> str:
        """For `--store`, with a schema that nobody has used."""
        return self.url(f"t_{secrets.token_hex(6)}")

    def __enter__(self) -> Self:
        data = str(self._folder / "data")
        command = [
            self._programs / "initdb",
            "-D",
            data,
            "-U",
            "aoray",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        done = subprocess.run([*self._as_user, *command], cwd="/tmp", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Run it, and wait until it answers."""
        command = [self._programs / "postgres", "-D", str(self._folder / "data"), "-k", str(self._folder)]
        command += ["-p", str(self.port), "-h", "127.0.0.1", "-c", "max_connections=200"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, *command], cwd="/tmp", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._answers, (self._folder / "log").read_text, SECONDS_MAX)

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, (self._folder / "log").read_text()
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """A plain connection, to look at what is there."""
        return psycopg.connect(self.url("x").partition("?")[0], autocommit=True, connect_timeout=5)

    def kill(self) -> None:
        """End it at once, as when its power is cut (what it has synced stays)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(SECONDS_MAX)
            self._process = None
