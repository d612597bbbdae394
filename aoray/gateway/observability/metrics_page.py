"""The page `GET /metrics`: figures of a gateway and of the actors behind it, in Prometheus's text format.

`prometheus_client` writes the families, each with HELP and TYPE (docs/metrics.md lists them all). This module
neither counts nor asks: it gives names to figures that others counted. Counters whose name does not end in
`_total` are older than this page and keep their names; Prometheus's client has no type for them, so they are
`untyped`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from aoray.util.metrics import BOUNDS_MS, Snapshot

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
BUCKETS = (*map(str, BOUNDS_MS), "+Inf")
STAGES = {
    "accepted": "Items that a gateway has a receipt for",
    "scheduled": "Items that a shard made durable",
    "evaluated": "Results that a process actor wrote",
    "pushed": "Results whose outbox came to its end",
    "flushed": "Log entries that Arweave took in a bundle",
}
GATEWAY = {
    "requests_total": "HTTP requests.",
    "requests_in_flight": "HTTP requests under way.",
    "connections": "Open connections.",
    "connections_refused_total": "Connections beyond an address's share, or for want of file descriptors.",
    "requests_refused_total": "Requests of addresses that had too many under way.",
    "waits": "Requests that wait for results.",
    "waits_cut_total": "Waits ended after a second, since an address waited for too many.",
    "dry_runs": "Dry runs under way.",
    "dry_runs_refused_total": "Dry runs of addresses that had too many.",
    "dry_runs_dropped_total": "Dry runs whose client had gone.",
    "answer_bytes_unread": "Bytes of answers in memory that clients have not read.",
    "answer_bytes_spooled": "Bytes of large answers in files.",
    "answers_refused_total": "Answers refused to addresses that did not read what they had asked for.",
    "answers_stalled_total": "Connections that were cut off, since they did not read.",
    "refused_reads_total": "Reads over the rate of an address.",
    "refused_by_address_total": "Requests over the rate of an address.",
    "refused_by_wallet_total": "Messages over the rate of a wallet.",
    "pages_waiting": "Pages of logs and results that wait for a thread.",
    "pages_refused_total": "Pages refused, since too many waited, or too long.",
    "searches_waiting": "GraphQL queries that wait for a thread.",
    "searches_refused_total": "GraphQL queries refused, since too many waited, or too long.",
    "searches_cancelled_total": "GraphQL queries whose client had gone.",
    "searches_without_recent_total": "Rounds of posting for readers that failed or took too long.",
    "pieces_bytes": "Bytes of chunks and parts of uploads that are not whole yet.",
    "pieces_refused_total": "Chunks and parts of uploads refused.",
    "items_refused_total": "Items refused, since what was sent before is late, or a queue is full.",
    "items_accepted_total": "Items that this gateway has a receipt for.",
    "items_queued": "Items in this gateway's queue.",
    "submit_calls_total": "Calls to shards that carried items.",
    "watch_calls_total": "Calls to process actors that asked for results.",
    "deliver_calls_total": "Calls from process actors that brought results.",
    "results_served_total": "Results given to clients.",
    "results_awaited": "Results that clients wait for.",
    "outboxes_pushed_total": "Outboxes that came to their end by this gateway's push.",
    "outboxes_waiting": "Outboxes that wait.",
    "outboxes_held_total": "Outboxes that waited for a quota.",
    "processes_held": "Processes whose outboxes wait for a quota.",
    "processes_diverged": "Processes that are stopped, since a second evaluation gave another result.",
}
ACTOR = {
    "live": "Processes in memory.",
    "asleep": "Processes that hibernate.",
    "resident_bytes": "Memory that processes take.",
    "resident_bytes_max": "Memory that processes may take before idle ones hibernate.",
    "evicted": "Processes that hibernated for their bytes.",
    "long": "Messages that are evaluated in slices.",
    "long_waiting": "Messages to be evaluated in slices that have not begun.",
}
CRON = {
    "monitored": "Processes whose crons run.",
    "crons": "Crons that run.",
    "ticks": "Ticks that were made.",
    "skipped": "Ticks that were left out.",
    "over_quota": "Ticks that were left out over the quota of their wallet.",
    "lag_p50_ms": "Median from when a tick was due to its slot, of the worst shard.",
    "lag_p99_ms": "99th percentile from when a tick was due to its slot, of the worst shard.",
    "lag_max_ms": "Greatest time from when a tick was due to its slot, of the worst shard.",
}
ARWEAVE = {
    "entries": "Log entries that wait for Arweave.",
    "publications": "Publications that wait for Arweave.",
    "bytes": "Bytes that wait for Arweave.",
    "unconfirmed": "Bundles that were accepted and are not deep enough yet.",
    "bundles": "Bundles accepted.",
    "settled": "Bundles settled.",
    "reposts": "Bundles posted again.",
    "failures": "Failures in a row.",
    "oldest_seconds": "Age of the oldest that waits for Arweave.",
}
WAITING = "Processes that wait for the machine to have room or to mend."
UNTYPED = {"actor_evicted", "cron_ticks", "cron_skipped", "cron_over_quota"}
UNTYPED |= {"arweave_bundles", "arweave_settled", "arweave_reposts"}
"""Counters whose names do not end in `_total`."""


class _Page(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(families: Iterable[Metric]) -> bytes:
    """Render the families in Prometheus's text format, version 0.0.4."""
    return generate_latest(_Page(families))


def of_stages(found: Sequence[Snapshot]) -> Iterator[Metric]:
    """Yield four families for each stage of a message's journey, labelled by the counting actor."""
    for stage, what in STAGES.items():
        name, labels = f"aoray_{stage}", ("actor",)
        total = CounterMetricFamily(name, f"{what}.", labels=labels)
        queue = GaugeMetricFamily(f"{name}_queue", f"{what}: how many wait before this.", labels=labels)
        lag = GaugeMetricFamily(
            f"{name}_lag_ms", f"{what}: how late this is; 0 if none waits.", labels=labels
        )
        latency = HistogramMetricFamily(f"{name}_latency_ms", f"{what}: how long it took.", labels=labels)
        for each in found:
            if each.stage == stage:
                total.add_metric((each.actor,), each.total)
                queue.add_metric((each.actor,), each.queue)
                lag.add_metric((each.actor,), each.lag_ms)
                latency.add_metric((each.actor,), list(zip(BUCKETS, each.buckets, strict=True)), each.sum_ms)
        yield from (total, queue, lag, latency)


def of_counts(prefix: str, counts: Mapping[str, float], helps: Mapping[str, str]) -> Iterator[Metric]:
    """Yield one family without labels for each figure that `helps` describes, such as
    `aoray_gateway_requests_total`."""
    for name, what in helps.items():
        if name in counts:
            yield _family(f"{prefix}_{name}", what, [((), counts[name])])


def of_actors(stats: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    """Yield one family for each figure of the process actors, labelled by actor."""
    for name, what in ACTOR.items():
        yield _family(f"actor_{name}", what, [((each["actor"],), each[name]) for each in stats], ("actor",))


def of_waiting(processes: int) -> Metric:
    """Return the family with the number of processes that wait for the machine."""
    return _family("processes_waiting", WAITING, [((), processes)])


def _family(
    name: str, what: str, values: Sequence[tuple[Sequence[str], float]], labels: Sequence[str] = ()
) -> Metric:
    kind: type[CounterMetricFamily | GaugeMetricFamily | UnknownMetricFamily] = GaugeMetricFamily
    if name.endswith("_total"):
        kind = CounterMetricFamily
    elif name in UNTYPED:
        kind = UnknownMetricFamily
    family = kind(f"aoray_{name}", what, labels=labels)
    for each, value in values:
        family.add_metric(each, value)
    return family
