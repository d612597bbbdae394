"""Builds the docs site (`make docs`); a warning is an error.

The site has the repository's pages at the repository's paths, so a link between them works on both. The pages
and the files that they link to are copied to `.docs/pages`; `zensical.toml` has the navigation.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIES = ROOT / ".docs" / "pages"
PAGES = ("*.md", "docs/*.md", "docs/api/*.md", "aoray/modules/lua/README.md", "benchmarks/README.md")
LINKED = (
    "cluster.yaml",
    "LICENSE",
    "docs/grafana.json",
    "benchmarks/*.wat",
    "examples/*",
    "aoray/client/arrow.py",
)


def files() -> Iterator[Path]:
    """The files of the site, by their paths in the repository."""
    for pattern in PAGES + LINKED:
        yield from (path.relative_to(ROOT) for path in sorted(ROOT.glob(pattern)) if path.is_file())


def main() -> int:
    """Copy the pages and build the site from them; the exit code is the builder's."""
    shutil.rmtree(COPIES, ignore_errors=True)
    for path in files():
        (COPIES / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, COPIES / path)
    return subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=ROOT
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
