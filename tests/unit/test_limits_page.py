"""docs/limits.md says what aoray/limits.py does."""

from __future__ import annotations

import re
from pathlib import Path

from aoray import limits

PAGE = Path(__file__).parents[2] / "docs/limits.md"
UNITS = {"": 1, "%": 0.01, "KiB": limits.KIB, "MiB": limits.MIB, "GiB": limits.GIB, "s": 1, "ms": 1}
ROW = re.compile(r"\| [^|]+ \| ([\d,]+) ?(\w*|%) \| [^|]+ \| `(\w+)` \|")


def test_every_bound_of_the_page_is_as_it_says() -> None:
    text = PAGE.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| what | b")]
    named = [found.groups() for line in rows if (found := ROW.fullmatch(line))]
    assert len(named) == len(rows) > 30
    for number, unit, name in named:
        assert getattr(limits, name) == int(number.replace(",", "")) * UNITS[unit], name


def test_every_bound_is_on_the_page() -> None:
    text = PAGE.read_text()
    bounds = [name for name in vars(limits) if re.search(r"_(MAX|MAX_S)$", name)]
    assert len(bounds) > 150
    assert [name for name in bounds if f"| `{name}` |" not in text] == []
