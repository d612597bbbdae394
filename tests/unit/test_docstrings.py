"""Everything public has a docstring, which begins with a full sentence: what a function does, or what a
class, module or property is.

A function's first word is a verb (`Return`, `Stop`, …), and no docstring begins with a pronoun whose noun the
reader would have to look for elsewhere.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aoray"
START = re.compile(r"[A-Z`\"'\d{]")
NOT_A_SUBJECT = re.compile(
    r"(It|Its|They|Them|Those|As|The same|Of|On|By|With|And|In|To|From|Beside|Before|After)\b"
)
PRONOUN = re.compile(r"\w+ (it|them|this|that|these|those)( again| here| there)?[,.:;]")
NOT_A_VERB = re.compile(
    r"(The|A|An|Whether|What|How|Where|Which|Who|Whom|Why|When|All|Every|Each|One|Nobody|Nothing|Everything)\b"
)
NOUN_PHRASES = {"property", "cached_property", "contextmanager", "asynccontextmanager"}
"""Decorators of functions that stand for a thing."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Documented(NamedTuple):
    """A public docstring."""

    name: str
    text: str
    is_action: bool  # of a function that is called for what it does or gives


def _definitions(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Definition]]:
    for each in node.body:
        if isinstance(each, Definition) and not each.name.startswith("_"):
            yield f"{prefix}{each.name}", each
            if isinstance(each, ast.ClassDef):
                yield from _definitions(each, f"{prefix}{each.name}.")


def _is_action(node: Definition) -> bool:
    decorators = {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}
    return not isinstance(node, ast.ClassDef) and not decorators & NOUN_PHRASES


def _is_overload(node: Definition) -> bool:
    return any(ast.unparse(each) == "overload" for each in node.decorator_list)


def _public() -> Iterator[Documented]:
    """Every module and public name, with an empty text if it has no docstring."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        place = path.relative_to(ROOT).as_posix()
        yield Documented(place, ast.get_docstring(tree) or "", is_action=False)
        for name, node in _definitions(tree, ""):
            if not _is_overload(node):
                yield Documented(f"{place}::{name}", ast.get_docstring(node) or "", _is_action(node))


PUBLIC = list(_public())
DOCUMENTED = [each for each in PUBLIC if each.text]


def _first_paragraph(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def test_the_docstrings_are_found() -> None:
    assert len(DOCUMENTED) > 1900


def test_everything_public_has_a_docstring() -> None:
    assert [each.name for each in PUBLIC if not each.text] == []


def test_public_docstrings_begin_with_a_capital_and_end_with_a_full_stop() -> None:
    wrong = [
        (each.name, paragraph)
        for each in DOCUMENTED
        if not START.match(paragraph := _first_paragraph(each.text))
        or not paragraph.endswith((".", ":", ")"))
    ]
    assert wrong == []


def test_public_docstrings_name_their_subject() -> None:
    wrong = [
        (each.name, paragraph)
        for each in DOCUMENTED
        if NOT_A_SUBJECT.match(paragraph := _first_paragraph(each.text)) or PRONOUN.match(paragraph)
    ]
    assert wrong == []


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    wrong = [
        (each.name, paragraph)
        for each in DOCUMENTED
        if each.is_action and NOT_A_VERB.match(paragraph := _first_paragraph(each.text))
    ]
    assert wrong == []
