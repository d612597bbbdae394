"""What an actor says in its log: everything of aoray's from the level of the settings on.

Each actor begins with `begin`, in its own OS process; Ray keeps what it says in a file of its session
(`worker-*.err` under the temp directory). Other libraries stay at warnings: at lower levels they write down
what they send. No key is ever logged: what holds one (`protocol.signatures.jwk`) has no text but its class's.
"""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LEVELS = ("debug", "info", "warning", "error", "critical")


def begin(level: str) -> None:
    """Log to standard error from this level on (one of `LEVELS`)."""
    logging.basicConfig(format=FORMAT)
    logging.getLogger("aoray").setLevel(level.upper())
