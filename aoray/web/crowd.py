"""What the clients of one gateway hold of what is bounded for all of them together, by their addresses.

    connections   of all its ports
    requests      under way
    waits         for results (`GET /result`) that are not there yet
    slots         those among them for slots that are still to come
    dry_runs      under way
    unread        bytes of answers in memory that their clients have not read
    spooled       bytes of larger answers, in files

An address may hold as much as is free beside it (`shares`), so no stranger takes all. A proxy that is not
named in the settings (`trusted_proxies`) is one address for all who come by it.

File descriptors: connections end where `spare_descriptors` are left for everything else that a gateway opens.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from aoray import limits
from aoray.web.shares import WHO, Shares

__all__ = ["WHO", "Crowd", "lacks_descriptors", "raise_descriptors"]


class Crowd:
    """What the addresses of one event loop hold of a shared bound."""

    def __init__(self) -> None:
        self.connections = Shares(limits.CONNECTIONS_MAX)
        self.requests = Shares(limits.REQUESTS_IN_FLIGHT_MAX)
        self.waits = Shares(limits.RESULT_WAITS_MAX)
        self.slots = Shares(limits.SLOT_WAITS_MAX)
        self.dry_runs = Shares(limits.DRY_RUNS_IN_FLIGHT_MAX)
        self.dry_runs_dropped_total = 0  # since their clients had gone
        self.unread = Shares(limits.ANSWERS_BYTES_MAX)
        self.spooled = Shares(limits.ANSWERS_DISK_BYTES_MAX)
        self.lingering = 0  # connections beyond the bound, that are told so
        self.stalled_total = 0  # connections that were cut off, since their clients did not read

    @contextmanager
    def held(self, shares: Shares, who: str, amount: int = 1) -> Iterator[bool]:
        """Hold so much for a while, and give whether it may be had."""
        taken = shares.take(who, amount)
        try:
            yield taken
        finally:
            if taken:
                shares.give(who, amount)

    def counts(self) -> dict[str, int]:
        """Return the figures for `/metrics`."""
        return {
            "connections": self.connections.held,
            "connections_refused_total": self.connections.refused_total,
            "requests_refused_total": self.requests.refused_total,
            "waits": self.waits.held,
            "waits_cut_total": self.waits.refused_total + self.slots.refused_total,
            "dry_runs": self.dry_runs.held,
            "dry_runs_refused_total": self.dry_runs.refused_total,
            "dry_runs_dropped_total": self.dry_runs_dropped_total,
            "answer_bytes_unread": self.unread.held,
            "answer_bytes_spooled": self.spooled.held,
            "answers_refused_total": self.unread.refused_total + self.spooled.refused_total,
            "answers_stalled_total": self.stalled_total,
        }


def raise_descriptors() -> None:
    """Raise the number of open files to the most that this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def lacks_descriptors(newest: int) -> bool:
    """Return whether so few file descriptors are left that one more connection is too many. The system
    gives the lowest that is free, so the newest says how many are used."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft != resource.RLIM_INFINITY and newest >= soft - min(limits.DESCRIPTORS_SPARE, soft // 4)
