"""The declaration of a setting: its purpose, and the values that it may have.

`setting` makes a field of a dataclass, with this as its metadata; `settings_of` reads it from the dataclass.
Options, environment variables, checks, help and the page of all settings are made from it. On failure:
`ClientError` names the option or the variable, its value, and what it must be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from aoray.errors import ClientError

T = TypeVar("T")
TRUTHS = {"1": True, "true": True, "yes": True, "on": True}
TRUTHS |= {"0": False, "false": False, "no": False, "off": False, "": False}


def setting(
    default: T,
    help: str,
    *,
    section: str = "",
    unset: str = "",
    least: float = 0,
    most: float = math.inf,
    choices: tuple[str, ...] = (),
    schemes: tuple[str, ...] = (),
    is_path: bool = False,
) -> T:
    """Declare a field of `Settings`. A `section` applies until a field starts another."""
    return field(
        default=default,
        metadata={
            **{"help": help, "section": section, "unset": unset, "least": least, "most": most},
            **{"choices": choices, "schemes": schemes, "is_path": is_path},
        },
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of a field of `Settings`."""

    name: str
    default: Any
    help: str
    """The purpose of the setting, in sentences."""
    section: str
    """The section of the help and of the page."""
    unset: str
    """What the default means, if it is 0 or empty."""
    least: float
    most: float
    """The range of a number."""
    choices: tuple[str, ...]
    """The permitted texts; if there are none, any text is."""
    schemes: tuple[str, ...]
    """The permitted schemes of a URL, which may also be empty."""
    is_path: bool
    """Whether the setting is a path of this machine, which `resolved()` makes absolute."""

    @property
    def option(self) -> str:
        """The setting's option of `aoray up`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The setting's variable in the environment."""
        return f"AORAY_{self.name.upper()}"

    @property
    def is_number(self) -> bool:
        """Whether the setting is a number (and not a boolean)."""
        return isinstance(self.default, int | float) and not isinstance(self.default, bool)

    @property
    def requirement(self) -> str:
        """The values that the setting may have, as text; empty if any value of its type is allowed."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.schemes:
            return f"a URL that begins with {' or '.join(self.schemes)}"
        if not self.is_number:
            return ""
        return f"{self.least:g} or more" if self.most == math.inf else f"from {self.least:g} to {self.most:g}"

    def allows(self, value: Any) -> bool:
        """Return whether the setting may have this value of its type."""
        if self.choices:
            return value in self.choices
        if self.schemes:
            return not value or str(value).startswith(self.schemes)
        return not self.is_number or (self.least <= value <= self.most and math.isfinite(value))

    def check(self, value: Any, source: str) -> None:
        """Raise `ClientError` unless the setting may have this value. `source` names the option, the variable
        or the field."""
        if not self.allows(value):
            raise ClientError(
                f"{source} is {value}, and must be {self.requirement}",
                hint=f"{self.help} Leave it out for the default: {self.shown_default}.",
            )

    def parse(self, text: str) -> Any:
        """Return the value that a text stands for. Raises `ClientError` if it is not one of the setting's
        type."""
        try:
            if isinstance(self.default, bool):
                return TRUTHS[text.lower()]
            return type(self.default)(text)
        except (ValueError, KeyError) as error:
            raise ClientError(
                f"{self.variable} is {text!r}", hint=f"It should be like {self.default!r}."
            ) from error

    @property
    def shown_default(self) -> str:
        """The default for people: what it means, if 0 or an empty text says little."""
        if self.unset:
            return self.unset
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        return f"{self.default:,}" if self.is_number and self.default >= 100_000 else str(self.default)


def settings_of(cls: type[Any]) -> tuple[Setting, ...]:
    """Return the settings of a dataclass: the fields that `setting` declared, in their order."""
    found: list[Setting] = []
    for each in fields(cls):
        if each.metadata:
            about = {**each.metadata, "section": each.metadata["section"] or found[-1].section}
            found.append(Setting(name=each.name, default=each.default, **about))
    return tuple(found)
