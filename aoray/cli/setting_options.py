"""The options that are settings: made from the fields of `Settings`, so that a new field is an option too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from aoray.errors import ClientError
from aoray.settings import SETTINGS
from aoray.util.setting_fields import Setting

T = TypeVar("T", bound=Callable[..., Any])


def setting_options(*names: str) -> Callable[[T], T]:
    """Add the options of these settings, or of all, to a command; each is None unless it is given."""

    def add(function: T) -> T:
        for each in reversed(SETTINGS):  # click lists them the other way round
            if not names or each.name in names:
                function = _option(each)(function)
        return function

    return add


def _option(setting: Setting) -> Callable[[T], T]:
    is_flag = isinstance(setting.default, bool)
    kind = click.Path(path_type=Path) if isinstance(setting.default, Path) else type(setting.default)
    return click.option(
        setting.option,
        setting.name,
        type=None if is_flag else kind,
        is_flag=is_flag,
        default=None,
        callback=lambda _context, _parameter, value: _checked(setting, value),
        help=setting.help if is_flag else f"{setting.help} [{setting.shown_default}]",
    )


def _checked(setting: Setting, value: Any) -> Any:
    """A value that is refused is a wrong call, and said before anything else is done."""
    try:
        if value is not None:
            setting.check(value, setting.option)
    except ClientError as error:
        raise click.UsageError(f"{error.message}. {error.hint}") from error
    return value


class SettingsCommand(click.Command):
    """A command whose help lists the settings by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each under the section of its setting."""
        section_of = {each.name: each.section for each in SETTINGS}
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                sections.setdefault(section_of.get(parameter.name or "", "Options"), []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)
