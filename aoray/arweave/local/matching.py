"""Tests of an item's tags for filters that the index can't express: patterns, similarity, and values of any
name. Pure.

The index knows complete tags, and names. A `TagTest` is applied to the items that the rest of a search finds,
one by one.

    EXACT      the tag has one of the values
    WILDCARD   `*` stands for any text
    FUZZY_OR   a word of the tag's value is similar to a word of the searched text
    FUZZY_AND  this is so for each word of the searched text

Words are similar if one letter differs, or two letters in words of more than five; case is ignored.
Invariant: the time is at most proportional to the product of the sizes of value and pattern.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from aoray.protocol.tags import Tags

_WORD = re.compile(r"\w+")
_WORD_CHARACTERS_MAX = 64  # longer words are only compared for equality


class TagTest(NamedTuple):
    """A filter of tags. Without a name it applies to all tags, without values to any value."""

    name: str | None
    values: Sequence[str] | None
    match: str = "EXACT"
    negated: bool = False

    def holds(self, tags: Tags) -> bool:
        """Return whether an item with these tags passes the filter."""
        found = any(
            (self.name is None or tag.name == self.name)
            and (self.values is None or any(_matches(self.match, tag.value, each) for each in self.values))
            for tag in tags
        )
        return found != self.negated


def _matches(match: str, value: str, wanted: str) -> bool:
    if match == "WILDCARD":
        return _is_like_pattern(value, wanted)
    if match == "EXACT":
        return value == wanted
    words = _WORD.findall(value.casefold())
    found = (any(_is_like(word, each) for word in words) for each in _WORD.findall(wanted.casefold()))
    return any(found) if match == "FUZZY_OR" else bool(words) and all(found)


def _is_like_pattern(value: str, pattern: str) -> bool:
    first, *rest = pattern.split("*")
    if not rest:
        return value == pattern
    *middle, last = rest
    if not value.startswith(first) or not value.endswith(last) or len(value) < len(first) + len(last):
        return False
    at, end = len(first), len(value) - len(last)
    for part in middle:
        at = value.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


@lru_cache(maxsize=16_384)
def _is_like(word: str, wanted: str) -> bool:
    if word == wanted:
        return True
    most = 0 if len(wanted) < 3 else 1 if len(wanted) < 6 else 2
    if abs(len(word) - len(wanted)) > most or max(len(word), len(wanted)) > _WORD_CHARACTERS_MAX:
        return False
    row = list(range(len(wanted) + 1))
    for place, letter in enumerate(word, 1):
        before, row = row, [place]
        for column, other in enumerate(wanted, 1):
            row.append(min(before[column] + 1, row[-1] + 1, before[column - 1] + (letter != other)))
        if min(row) > most:
            return False
    return row[-1] <= most
