"""Logging of an actor: messages of aoray's modules from the level in the settings on.

Each actor calls `begin` in its own OS process; Ray keeps the output in a file of its session (`worker-*.err`
under the temporary directory). Other libraries log warnings only, since at lower levels they log what they
send. No key is ever logged: objects with a key (`protocol.signatures.jwk`) have only their class and address
as text.
"""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LEVELS = ("debug", "info", "warning", "error", "critical")


def begin(level: str) -> None:
    """Log to standard error from this level on (one of `LEVELS`)."""
    logging.basicConfig(format=FORMAT)
    logging.getLogger("aoray").setLevel(level.upper())
