"""`aoray config`: the settings that are in force here, and where each of them is from.

It takes what `aoray up` takes, starts nothing and writes nothing. `page` is docs/settings.md, which
`make settings` writes.
"""

from __future__ import annotations

import os
import re
from itertools import groupby
from typing import Any

import click
import orjson

from aoray.cli.setting_options import SettingsCommand, setting_options
from aoray.settings import SETTINGS, InForce, Settings, in_force
from aoray.util.setting_fields import Setting

PASSWORDS = (
    (re.compile(r"(://[^:/?#@]*:).*@"), r"\1…@"),
    (re.compile(r"([?&][^=&]*(?:password|secret)[^=&]*=)[^&]*", re.IGNORECASE), r"\1…"),
)

PAGE = """\
# Settings

`make settings` writes this page from the fields of `aoray/settings.py`; edit those.

Each setting is an option of `aoray up`, and a variable of the environment, over which the option wins:
`--port 5000`, or `AORAY_PORT=5000`. `aoray config` takes the same options, and prints what is in force here
and where each value is from; `--json` too. A value that is not as this page says is refused before anything
is made.
"""


@click.command(cls=SettingsCommand)
@setting_options()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def config(as_json: bool, **options: Any) -> None:
    """Print the settings that `aoray up` would use here, and where each comes from."""
    found = in_force(os.environ, options)
    settings = Settings.from_environment(**options).resolved()
    shown = [(each, _shown(getattr(settings, each.setting.name))) for each in found]
    if as_json:
        values = {each.setting.name: {"value": value, "source": _source(each)} for each, value in shown}
        click.echo(orjson.dumps(values).decode())
        return
    names = max(len(each.setting.name) for each in found)
    sources = max(len(_source(each)) for each in found)
    for each, value in shown:
        text = value if each.value != each.setting.default else each.setting.unset or value
        click.echo(f"{each.setting.name:<{names}}  {_source(each):<{sources}}  {text}")


def _source(found: InForce) -> str:
    """Where a value is from: the option, the variable, or `default`."""
    if found.source == "option":
        return found.setting.option
    return found.setting.variable if found.source == "environment" else "default"


def _shown(value: Any) -> Any:
    """A value to be printed: a password in a URL is nobody's business."""
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    for pattern, hidden in PASSWORDS:
        text = pattern.sub(hidden, text)
    return text


def page() -> str:
    """Return the text of docs/settings.md, the page of all settings."""
    parts = [PAGE]
    for section, settings in groupby(SETTINGS, lambda each: each.section):
        parts.append(f"\n## {section}\n\n| setting | default | |\n|---|---|---|\n")
        parts += map(_row, settings)
    return "".join(parts)


def _row(setting: Setting) -> str:
    must = f" It must be {setting.requirement}." if setting.requirement else ""
    default = setting.shown_default if setting.unset else f"`{setting.shown_default}`"
    return f"| `{setting.option}`, `{setting.variable}` | {default} | {setting.help}{must} |\n"
