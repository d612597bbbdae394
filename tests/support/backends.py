"""The backends that what is stored is tested on: by name, what `--store` says for a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest


def _new_schema(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgres").new_url())


BACKENDS: Mapping[str, Callable[[pytest.FixtureRequest], str]] = {
    "sqlite": lambda request: "",
    "postgres": _new_schema,
}
