"""The variables under which a Ray of our own runs. Ray reads them when it is imported: call `prepare` before.

Ray's ports face the network, and whoever reaches them may run any code: so it asks for a token, a file
among the computer's keys with mode 0600. It also runs its workers at niceness 15, as batch work; what serves
must not yield to its own clients. On an existing cluster (`ray_address`) the cluster's own variables hold.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from aoray import durable
from aoray.keyfiles import private
from aoray.settings import Settings

TOKEN_BYTES = 32


def prepare(settings: Settings) -> None:
    """Set the variables for a computer that starts its own Ray."""
    if not settings.ray_address:
        os.environ |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(_token(settings.keys_directory / "ray-token")),
            "RAY_worker_niceness": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }


def _token(path: Path) -> Path:
    """The file of the token; a new one if it is not there, or was not whole when the power was cut."""
    durable.make_directory(path.parent, mode=0o700)
    if not path.exists() or len(private(path)) != 2 * TOKEN_BYTES:  # refused if others may read it
        durable.write(path, secrets.token_hex(TOKEN_BYTES).encode())
    return path
