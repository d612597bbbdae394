"""What a field of the settings says of itself: what it is for, and what it may be.

`setting` makes a field of a dataclass with this as its metadata; `settings_of` reads it off the dataclass.
Options, variables, checks, help and the page of all settings are made from it. On failure: `ClientError`
names the option or the variable, what it is, and what it must be.
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
    """Declare a field of `Settings`; a `section` lasts until a field begins another."""
    return field(
        default=default,
        metadata={
            **{"help": help, "section": section, "unset": unset, "least": least, "most": most},
            **{"choices": choices, "schemes": schemes, "is_path": is_path},
        },
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field of `Settings` declares about itself."""

    name: str
    default: Any
    help: str
    """What it is for, in sentences."""
    section: str
    """Where the help and the page have it."""
    unset: str
    """What the default stands for, if it is 0 or empty."""
    least: float
    most: float
    """Of a number: the range that it must be in."""
    choices: tuple[str, ...]
    """Of a text: all that it may be; none: whatever it is."""
    schemes: tuple[str, ...]
    """Of a URL: what it must begin with, unless it is empty."""
    is_path: bool
    """Whether it is a path of this machine, which is absolute once the settings are `resolved()`."""

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
        return isinstance(self.default, int | float) and not isinstance(self.default, bool)

    @property
    def requirement(self) -> str:
        """The values that the setting may have, in words; empty if any value of its type will do."""
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
        """Check the value of an option, a variable or a field (`source`). Raises `ClientError` if the setting
        may not have it."""
        if not self.allows(value):
            raise ClientError(
                f"{source} is {value}, and must be {self.requirement}",
                hint=f"{self.help} Leave it out for the default: {self.shown_default}.",
            )

    def parse(self, text: str) -> Any:
        """Return the value that a text stands for. ClientError if it says none."""
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
        """The default for people: what it stands for, where 0 or empty says little."""
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
