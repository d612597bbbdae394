"""What is counted of a message's journey: accepted, scheduled, evaluated, pushed, flushed.

Each Ray actor keeps a `Stage` for what it does: `accepted` and `pushed` in a gateway, `scheduled` and
`flushed` in a shard, `evaluated` and `pushed` in a process actor. A stage has a total, a queue (what waits
before it), a lag (how late it is) and a histogram of latencies; docs/metrics.md says from when to when. They
go out on two roads: Prometheus text at a gateway's `/metrics`, which asks every actor for its snapshots, and
Ray's own metrics, to which each actor gives them every EXPORT_SECONDS. An actor has both by being `Counted`.

Cheap where it is counted: once for each batch, plain integers; a Ray counter takes 7 µs for each call. Labels
are bounded: the name of a gateway, a shard or a pool actor; all actors of single processes are one, `own`.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 60_000)
EXPORT_SECONDS = 2.0
OWN = "own"


class Snapshot(NamedTuple):
    """A stage at one moment; `buckets` are cumulative, by BOUNDS_MS, the last is `total`'s."""

    stage: str
    actor: str
    total: int
    queue: int
    lag_ms: float
    sum_ms: float
    buckets: tuple[int, ...]


class Sample(NamedTuple):
    """One line of the text: a name, its labels, its value."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(slots=True)
class Stage:
    """One kind of work of one actor. `queued` says how much waits before it."""

    name: str
    actor: str
    queued: Callable[[], int] = lambda: 0
    total: int = 0
    _sum_ms: float = 0.0
    _worst_ms: float = 0.0  # of the last batch
    _at: float = field(default_factory=time.monotonic)
    _buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))

    def done(self, latencies_ms: Iterable[float]) -> None:
        """A batch: how long each of it took."""
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
        """A batch: when each of it was scheduled."""
        now_ms = time.time_ns() // 1_000_000
        self.done(max(0, now_ms - timestamp) for timestamp in timestamps_ms)

    def snapshot(self) -> Snapshot:
        """As it is now. Nothing is late where nothing waits."""
        queue = self.queued()
        if not queue:
            self._at = time.monotonic()
        lag_ms = max(self._worst_ms, (time.monotonic() - self._at) * 1000) if queue else 0.0
        reached, cumulative = 0, []
        for count in self._buckets:
            reached += count
            cumulative.append(reached)
        actor = OWN if self.actor.startswith("process-") and "actor" not in self.actor else self.actor
        return Snapshot(
            self.name, actor, self.total, queue, round(lag_ms, 1), round(self._sum_ms, 1), tuple(cumulative)
        )


def samples(found: Sequence[Snapshot]) -> Iterator[Sample]:
    """The figures of snapshots, by the names that /metrics and Ray have them under."""
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


def text(found: Sequence[Snapshot]) -> Iterator[str]:
    """Lines of Prometheus's text format."""
    for sample in samples(found):
        labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
        yield f"{sample.name}{{{labels}}} {sample.value}"


def snapshots(stages: Iterable[Stage]) -> list[Snapshot]:
    """All of an actor's."""
    return [stage.snapshot() for stage in stages]


class Counted:
    """A Ray actor with stages."""

    counted: Sequence[Stage] = ()

    async def stages(self) -> list[Snapshot]:
        """How far each is, for `/metrics`."""
        return snapshots(self.counted)

    async def export_for_ever(self) -> None:
        """Give them to Ray, now and again, for as long as the actor lives. Ray adds `ray_` to the names.

        All are gauges: Ray's histograms take one call for each observation, and counts that are kept here
        need none. Without Ray (tests run actors alone) there is nobody to give them to.
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
