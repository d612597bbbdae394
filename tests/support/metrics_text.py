"""What a page of `/metrics` says by Prometheus's own parser: series, as `name` or `name{actor="a"}`."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def series(sample: Sample) -> str:
    """Its name as people write it."""
    labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}}" if labels else sample.name


def figures(text: str) -> dict[str, float]:
    """Every figure of the page."""
    return {
        series(each): each.value for family in text_string_to_metric_families(text) for each in family.samples
    }
