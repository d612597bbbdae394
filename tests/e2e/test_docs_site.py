"""`make docs` builds the site without a warning, and every public name has its place in the API reference."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aoray

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".docs" / "tools"


@pytest.mark.timeout(180)
def test_the_site_builds_without_a_warning_and_has_the_public_names() -> None:
    assert TOOLS.exists(), "`make docs` installs what builds the site"
    built = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "site.py")],
        env={**os.environ, "PYTHONPATH": str(TOOLS)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = built.stdout + built.stderr
    assert built.returncode == 0 and "No issues found" in said and "warning" not in said.lower(), said
    places = set(
        re.findall(
            r'id="(aoray[^"]*)"', "".join(page.read_text() for page in (ROOT / "site").rglob("*.html"))
        )
    )
    names = {f"aoray.{name}" for name in aoray.__all__}
    assert names <= places
    connection = {name for name in vars(aoray.AsyncConnection) if not name.startswith("_")}
    assert {f"aoray.AsyncConnection.{name}" for name in connection} <= places
