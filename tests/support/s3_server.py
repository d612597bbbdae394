"""A real S3 server for tests: moto's, in an OS process and on a port of its own; it ends with them."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx
from polling import wait_until

from aoray.testing.local_computer import free_ports

SECONDS_MAX = 60
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class S3Server:
    """The server, from entering it on; what it holds is in its memory."""

    def __init__(self) -> None:
        self._endpoint = f"http://127.0.0.1:{free_ports()}"
        self._process: subprocess.Popen[bytes] | None = None

    def new_uri(self) -> str:
        """For `--files`: a folder in an empty bucket of its own."""
        bucket = f"aoray-{secrets.token_hex(6)}"
        httpx.put(f"{self._endpoint}/{bucket}").raise_for_status()
        return f"s3://{bucket}/aoray?region=us-east-1&endpoint_override={quote(self._endpoint, safe='')}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Run it, and wait until it answers."""
        host, port = self._endpoint.removeprefix("http://").split(":")
        moto = str(Path(sys.executable).with_name("moto_server"))
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, moto, "-H", host, "-p", port]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, lambda: "moto does not start", SECONDS_MAX)

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, "moto does not start"
        try:
            httpx.get(self._endpoint)
        except httpx.TransportError:
            return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End it at once, with all that it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
