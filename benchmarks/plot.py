"""Pictures of what `--json` wrote: `python -m benchmarks.plot results/*.json --to DIRECTORY [--format png]`.

Throughput by clients, latency percentiles by rate, and speed by cores and nodes, a file for each kind that
the JSON files have rows of; several runs of one workload are several lines of one picture, named by commit.
Needs matplotlib, which is not a part of aoray: `pip install 'aoray[plot]'`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.compare import Document, read

Row = Mapping[str, Any]


class Picture(NamedTuple):
    """One kind: the workloads that it is of, its axes, and the columns that are drawn over `x`."""

    name: str
    workloads: tuple[str, ...]
    x: str
    columns: tuple[str, ...]
    label: str
    log_x: bool = False


PICTURES = (
    Picture("throughput", ("throughput", "aos_eval"), "clients", ("messages_per_s",), "messages/s", True),
    Picture("payments", ("token_transfer",), "clients", ("payments_per_s",), "payments a second", True),
    Picture("latency", ("latency",), "rate", ("p50_ms", "p90_ms", "p99_ms"), "milliseconds"),
    Picture("cores", ("scale",), "cores", ("messages_per_s",), "messages a second"),
    Picture("nodes", ("scale",), "nodes", ("messages_per_s",), "messages a second"),
)


def main(words: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--to", type=Path, default=Path(), help="directory of the pictures [.]")
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    arguments = parser.parse_args(words)
    try:
        for file in draw([read(file) for file in arguments.files], arguments.to, arguments.format):
            sys.stdout.write(f"{file}\n")
    except OSError as error:
        parser.error(str(error))
    return 0


def draw(documents: Sequence[Document], to: Path, file_format: str) -> Iterator[Path]:
    """A file for each kind of picture that these runs have rows of."""
    to.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        lines = dict(lines_of(picture, documents))
        if lines:
            file = to / f"{picture.name}.{file_format}"
            _draw(picture, lines, file)
            yield file


def lines_of(
    picture: Picture, documents: Sequence[Document]
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Each line's name and its points, in the order of x."""
    chosen = [each for each in documents if each["benchmark"] in picture.workloads]
    for number, document in enumerate(chosen):
        rows = [row for row in document["rows"] if row.get(picture.x) is not None]
        if len({row[picture.x] for row in rows}) < 2 and picture.name in ("cores", "nodes"):
            continue
        for module in dict.fromkeys(row.get("module", "") for row in rows):
            for column in picture.columns:
                of_it = [row for row in rows if row.get("module", "") == module]
                points = sorted((float(row[picture.x]), float(row[column])) for row in of_it)
                run = f" {document['commit']} #{number + 1}" if len(chosen) > 1 else ""
                yield f"{document['benchmark']} {module} {column.removesuffix('_ms')}{run}", points


def _draw(picture: Picture, lines: Mapping[str, Sequence[tuple[float, float]]], file: Path) -> None:
    import matplotlib as mpl  # an extra: nothing else here needs it

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, points in lines.items():
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
    axes.set(xlabel=picture.x, ylabel=picture.label, title=picture.name, ylim=(0, None))
    if picture.log_x:
        axes.set_xscale("log", base=2)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
