"""Metrics of a message's journey: accepted, scheduled, evaluated, pushed, flushed.

Each Ray actor has a `StageMetrics` for each kind of work: `accepted` and `pushed` in a gateway, `scheduled`
and `flushed` in a shard, `evaluated` and `pushed` in a process actor. A stage has a total, a queue (how much
waits before it), a lag (how late it is) and a histogram of latencies; docs/metrics.md defines them. They are
available in two ways: as Prometheus text at a gateway's `/metrics`, which asks every actor for its snapshots,
and as Ray's own metrics, to which each actor exports every EXPORT_SECONDS. An actor gets both by inheriting
from `ExportsMetrics`.

Counting is cheap: once for each batch, with plain integers; a Ray counter would take 7 µs for each call.
Labels are bounded: the name of a gateway, a shard or a pool actor; all actors of single processes share the
label `own`.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aoray.util.clock import clock_ms

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 60_000)
EXPORT_SECONDS = 2.0


class Snapshot(NamedTuple):
    """The figures of a stage at one moment. `buckets` are cumulative, by BOUNDS_MS; the last one equals
    `total`."""

    stage: str
    actor: str
    total: int
    queue: int
    lag_ms: float
    sum_ms: float
    buckets: tuple[int, ...]


class Sample(NamedTuple):
    """One figure in Ray's form: its name, labels and value."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(slots=True)
class StageMetrics:
    """The figures of one kind of work of one actor. `queued` returns how much waits before it."""

    name: str
    actor: str
    queued: Callable[[], int] = lambda: 0
    total: int = 0
    _sum_ms: float = 0.0
    _worst_ms: float = 0.0  # the longest latency in the last batch
    _at: float = field(default_factory=time.monotonic)
    _buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))

    def done(self, latencies_ms: Iterable[float]) -> None:
        """Count a batch of work, given the ms that each piece took."""
        count, worst, buckets = 0, 0.0, self._buckets
        for latency_ms in latencies_ms:
            buckets[bisect_left(BOUNDS_MS, latency_ms)] += 1
            self._sum_ms += latency_ms
            worst = max(worst, latency_ms)
            count += 1
        if count:
            self.total += count
            self._worst_ms, self._at = worst, time.monotonic()

    def done_since(self, timestamps_ms: Iterable[int]) -> None:
        """Count a batch of work, given the time (Unix time in ms) at which each piece was scheduled."""
        now_ms = clock_ms()
        self.done(max(0, now_ms - timestamp) for timestamp in timestamps_ms)

    def snapshot(self) -> Snapshot:
        """Return the present figures. If nothing waits, the lag is 0."""
        queue = self.queued()
        if not queue:
            self._at = time.monotonic()
        lag_ms = max(self._worst_ms, (time.monotonic() - self._at) * 1000) if queue else 0.0
        reached, cumulative = 0, []
        for count in self._buckets:
            reached += count
            cumulative.append(reached)
        return Snapshot(
            self.name,
            self.actor,
            self.total,
            queue,
            round(lag_ms, 1),
            round(self._sum_ms, 1),
            tuple(cumulative),
        )


def samples(found: Sequence[Snapshot]) -> Iterator[Sample]:
    """Yield the figures of snapshots in Ray's form, with the names that they have at /metrics too."""
    for stage in found:
        labels = {"actor": stage.actor}
        name = f"aoray_{stage.stage}"
        yield Sample(f"{name}_total", labels, stage.total)
        yield Sample(f"{name}_queue", labels, stage.queue)
        yield Sample(f"{name}_lag_ms", labels, stage.lag_ms)
        for bound, count in zip((*map(str, BOUNDS_MS), "+Inf"), stage.buckets, strict=True):
            yield Sample(f"{name}_latency_ms_bucket", labels | {"le": bound}, count)
        yield Sample(f"{name}_latency_ms_sum", labels, stage.sum_ms)
        yield Sample(f"{name}_latency_ms_count", labels, stage.total)


def snapshots(stages: Iterable[StageMetrics]) -> list[Snapshot]:
    """Return the snapshots of all stages of an actor."""
    return [stage.snapshot() for stage in stages]


class ExportsMetrics:
    """A base class for Ray actors whose stages are measured."""

    counted: Sequence[StageMetrics] = ()

    async def stages(self) -> list[Snapshot]:
        """Return the snapshots of the actor's stages, for `/metrics`."""
        return snapshots(self.counted)

    async def export_forever(self) -> None:
        """Export the figures to Ray from time to time, for as long as the actor lives. Ray adds `ray_` to the
        names.

        All are gauges: Ray's histograms need one call for each observation, which the counts here avoid.
        Without Ray (tests run actors alone) nothing is exported.
        """
        import ray
        from ray.util.metrics import Gauge

        gauges: dict[str, Any] = {}
        while True:
            await asyncio.sleep(EXPORT_SECONDS)
            if not ray.is_initialized():
                continue
            for name, labels, value in samples(snapshots(self.counted)):
                if name not in gauges:
                    gauges[name] = Gauge(name, tag_keys=tuple(labels))
                gauges[name].set(value, tags=labels)


class LatencyWindow:
    """The last `kept` delays in ms, and how many there were in total."""

    def __init__(self, kept: int) -> None:
        self._lags: deque[int] = deque(maxlen=kept)
        self.total = 0

    def add(self, lag_ms: int) -> None:
        """Add a delay, in ms."""
        self._lags.append(lag_ms)
        self.total += 1

    def summary(self) -> dict[str, int]:
        """Return `{"count", "p50", "p99", "max"}`: the number of all delays, and ms of the remembered
        ones."""
        found = sorted(self._lags) or [0]
        at = {"p50": len(found) // 2, "p99": min(len(found) * 99 // 100, len(found) - 1), "max": -1}
        return {"count": self.total, **{name: found[index] for name, index in at.items()}}
