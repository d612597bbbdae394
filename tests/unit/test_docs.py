"""The pages of the docs link to what is there, and the API reference has every public name."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import aoray
from aoray import client, testing

ROOT = Path(__file__).parents[2]
FILES = set(runpy.run_path(str(ROOT / "docs" / "site.py"))["files"]())
API = ROOT / "docs" / "api"
PUBLIC = {
    "AsyncConnection",
    "Connection",
    "Message",
    "Result",
    "Sent",
    "Spawn",
    "Spawned",
    "connect",
    "connect_async",
    "errors",
    "log",
    "new_wallet",
}


def test_every_link_of_a_page_leads_to_a_file_of_the_site() -> None:
    broken = [
        (str(page), link)
        for page in sorted(FILES)
        if page.suffix == ".md"
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text())
        if "://" not in link and (ROOT / page.parent / link).resolve().relative_to(ROOT) not in FILES
    ]
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "zensical.toml").read_text()
    assert [
        str(page) for page in sorted(FILES) if page.suffix == ".md" and f'"{page}"' not in navigation
    ] == []


def test_the_public_names_are_these() -> None:
    """Adding a name is a promise, and removing one breaks programs: either is done here on purpose."""
    assert set(aoray.__all__) == PUBLIC


def test_the_connection_of_plain_programs_has_all_methods_of_the_other() -> None:
    plain, other = vars(aoray.Connection), vars(aoray.AsyncConnection)
    assert {name for name in plain if name[0] != "_"} == {name for name in other if name[0] != "_"}


def test_the_api_reference_has_every_public_name() -> None:
    text = "\n".join(page.read_text() for page in API.glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    names = {f"aoray.{name}" for name in aoray.__all__}
    names |= {f"aoray.testing.{name}" for name in testing.__all__}
    names |= {f"aoray.client.{name}" for name in client.__all__}
    assert names - shown == set()
