"""Error texts have one style: lower case at the start, no full stop at the end, one key for each kind of id.

A hint is a sentence of its own. Some texts are fixed: those of AO's legacy contract, which clients compare,
and those that results keep, which must not change between versions.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from aoray import errors

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aoray"
CONTRACT = re.compile(
    r"You must set both |Signed data item is required|Message or Process not found"
    r"|Latest message not available|Process already being monitored|Process monitor not found"
    r"|'processId': Required\.|Tag '"
)
IN_RESULTS = ("UnsupportedModule", "TooLarge", "ProcessError")
"""What the bytes of a module decide becomes the error of every message of its process."""
RESULT_FILES = ("vm/", "storage/modules.py", "execution/loader.py")
NAMES = {
    *("AORAY_", "AR", "Arweave", "Content-Length", "Cron-", "Cron-Interval", "Cron-Missed", "GraphQL", "Lua"),
    *("PostgreSQL", "Ray", "WASM"),
}
KEYS_OF_OTHER_NAMES = {
    "process": "process_id",
    "message": "message_id",
    "module": "module_id",
    "slot": "nonce",
}


class Raised(NamedTuple):
    """A call of a class of `aoray.errors` in the source; placeholders in its texts are `{}`."""

    place: str
    kind: str
    text: str | None
    hint: str | None
    keys: frozenset[str]


def _text(value: ast.expr) -> str | None:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in value.values)
    return None


def _classes(trees: dict[Path, ast.Module]) -> set[str]:
    known = {
        name
        for name, found in vars(errors).items()
        if isinstance(found, type) and found.__module__ == errors.__name__
    }
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & known:
                known.add(node.name)
    return known


def _raised() -> Iterator[Raised]:
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    classes = _classes(trees)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in classes
                and node.args
            ):
                place = f"{path.relative_to(PACKAGE).as_posix()}:{node.lineno}"
                named = {each.arg: each.value for each in node.keywords if each.arg}
                hint = _text(named["hint"]) if "hint" in named else None
                yield Raised(place, node.func.id, _text(node.args[0]), hint, frozenset(named))


RAISED = list(_raised())


def _is_fixed(raised: Raised) -> bool:
    kept = raised.kind in IN_RESULTS and raised.place.startswith(RESULT_FILES)
    return kept or CONTRACT.match(raised.text or "") is not None


def test_the_texts_are_found() -> None:
    assert len(RAISED) > 400


def test_error_texts_start_in_lower_case_and_end_without_a_full_stop() -> None:
    wrong = []
    for raised in RAISED:
        text = raised.text
        if text is None or _is_fixed(raised):
            continue
        word = re.match(r"[\w-]*", text)
        first = word[0] if word else ""
        if (text[:1].isupper() and first not in NAMES and not first.startswith("AORAY_")) or text.endswith(
            (".", "!", "?")
        ):
            wrong.append((raised.place, text))
    assert wrong == []


def test_hints_are_sentences() -> None:
    wrong = [
        (each.place, each.hint) for each in RAISED if each.hint and not re.match(r"[A-Z`{0-9-]", each.hint)
    ]
    assert wrong == []


def test_ids_are_named_by_the_same_keys_everywhere() -> None:
    wrong = [
        (each.place, sorted(found)) for each in RAISED if (found := each.keys & KEYS_OF_OTHER_NAMES.keys())
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["gateway/legacy/", "gateway/observability/", "gateway/core/"])
def test_what_a_request_says_wrongly_is_answered_with_a_hint(folder: str) -> None:
    wrong = [
        each.place
        for each in RAISED
        if each.kind == "MalformedInput" and each.place.startswith(folder) and "hint" not in each.keys
    ]
    assert wrong == []
