"""Search for items by their terms: a filter of GraphQL becomes one SQL statement over the index.

Items are numbered in the order of acceptance (`seq`), and blocks are mined in the same order. So sorting by
height is sorting by `seq`, and a cursor is a `seq`: pages stay the same while new items arrive. Every filter
(tag, owner, recipient, bundle) is a set of terms of which an item must have one, or none. The rarest set
drives the search, and the others are looked up.

Filters that the index can't express (patterns, similarity) are tested on the items that the rest finds, one
by one (`tests`).

Invariants: there are only index look-ups, and a `Budget` bounds the work on every connection of
`SearchReader`. On failure: a search that needs more raises the error of `Budget.check`.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from aoray.arweave.local.matching import TagTest
from aoray.errors import ClientError, Unavailable
from aoray.limits import GRAPHQL_COUNTED_MAX, GRAPHQL_SCANNED_MAX, GRAPHQL_SECONDS_MAX, GRAPHQL_STEPS_MAX
from aoray.protocol.tags import Tags
from aoray.util.turns import Budget

_RARE = 2_000  # up to this many hits are collected and sorted; a more common set is read in order
_TICK_STEPS = 10_000
_SCAN_ITEMS = 500  # items that are read from the index at once, to be tested


class Filter(NamedTuple):
    """The conditions of a search. An empty sequence is no condition."""

    ids: Sequence[bytes] = ()
    one_of: Sequence[Sequence[int]] = ()
    """Sets of terms; an item must have one term of each."""
    none_of: Sequence[int] = ()
    heights: tuple[int | None, int | None] = (None, None)
    """From and to, both inclusive, as are the seconds of `times`."""
    times: tuple[int | None, int | None] = (None, None)
    tests: Sequence[TagTest] = ()
    """Tests that the tags of the items must pass."""
    pairs: Sequence[Sequence[int]] = ()
    """Sets that follow from `one_of` and are rarer: owners with processes, if the index has these."""
    by_name: bool = False
    """Whether the search needs names of tags, which the index of an earlier version does not have."""


class SearchPage(NamedTuple):
    """Which hits are on a page: at most `first`, after the `seq` `after`."""

    first: int
    after: int | None = None
    ascending: bool = False


class SearchReader:
    """A read-only connection whose searches are all bounded. It belongs to one thread."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self.connection.execute("PRAGMA query_only = ON")

    @contextmanager
    def bounded(self, budget: Budget | None = None) -> Iterator[sqlite3.Connection]:
        """Yield the connection; it raises the error of `budget` when the work on it costs too much."""
        spent = budget or new_budget()
        self.connection.set_progress_handler(lambda: spent.spend(_TICK_STEPS), _TICK_STEPS)
        try:
            yield self.connection
        except sqlite3.OperationalError as error:
            spent.check()
            raise Unavailable(f"the Arweave store does not answer: {error}") from error
        finally:
            self.connection.set_progress_handler(None, 0)


class SearchReaders:
    """A pool of search readers, as many as are used at the same time. It may be used from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free: deque[SearchReader] = deque()

    @contextmanager
    def reading(self, budget: Budget | None = None) -> Iterator[sqlite3.Connection]:
        """Yield one of the free connections, or a new one."""
        try:
            reader = self._free.pop()
        except IndexError:
            reader = SearchReader(self._path)
        try:
            with reader.bounded(budget) as connection:
                yield connection
        finally:
            self._free.append(reader)

    def close(self) -> None:
        """Close all connections; none may be in use."""
        for reader in self._free:
            reader.connection.close()


def new_budget() -> Budget:
    """Return the budget of one request."""
    return Budget(GRAPHQL_STEPS_MAX, GRAPHQL_SECONDS_MAX)


def find(connection: sqlite3.Connection, wanted: Filter, page: SearchPage) -> list[int]:
    """Return the `seq` of each item on a page, in order."""
    source, parameters = _source(connection, wanted)
    order, beyond = ("ASC", ">") if page.ascending else ("DESC", "<")
    if page.after is not None:
        source += f" AND t.seq {beyond} ?"
        parameters.append(page.after)
    sql = f"SELECT DISTINCT t.seq FROM {source} ORDER BY t.seq {order} LIMIT ?"
    return [seq for (seq,) in connection.execute(sql, [*parameters, page.first])]


class Found(Protocol):
    """An item that a search finds."""

    @property
    def seq(self) -> int:
        """The number of the item in the order of acceptance."""


Item = TypeVar("Item", bound=Found)


def tested(
    page_at: Callable[[SearchPage], Sequence[Item]],
    tags_of: Callable[[Item], Tags],
    wanted: Filter,
    page: SearchPage,
    budget: Budget,
) -> Iterator[Item]:
    """Yield the items from the start of the page on whose tags pass the tests of the filter. Raises
    `ClientError` if too many items would have to be read."""
    scanned = 0
    while found := page_at(page._replace(first=_SCAN_ITEMS)):
        for item in found:
            scanned += 1
            if scanned > GRAPHQL_SCANNED_MAX:
                raise ClientError(
                    f"over {GRAPHQL_SCANNED_MAX} items would have to be looked at",
                    hint="Filter by rarer tags (EXACT, with names), owners or blocks too.",
                )
            budget.check()
            tags = tags_of(item)
            if all(test.holds(tags) for test in wanted.tests):
                yield item
        page = page._replace(after=found[-1].seq)


def count(connection: sqlite3.Connection, wanted: Filter) -> int:
    """Return the number of items that match, on all pages."""
    source, parameters = _source(connection, wanted)
    (number,) = connection.execute(f"SELECT count(DISTINCT t.seq) FROM {source}", parameters).fetchone()
    return int(number)


def _source(connection: sqlite3.Connection, wanted: Filter) -> tuple[str, list[int | bytes]]:
    """Return the `FROM` and `WHERE` of a filter, and its parameters."""
    sets = _rarest_first(connection, wanted.one_of)
    # A set of several common terms can't be read in the order of items
    drives = (each for each in sets if each[0] < _RARE or len(wanted.one_of[each[1]]) == 1)
    driver = next(drives, None)
    parameters: list[int | bytes] = []
    if wanted.ids:
        source = f"item t WHERE t.id IN ({_marks(wanted.ids)})"
        parameters += wanted.ids
    elif driver:
        sets.remove(driver)
        terms = wanted.one_of[driver[1]]
        source = f"term t WHERE t.term IN ({_marks(terms)})"
        parameters += terms
    else:
        source = "item t WHERE 1"
    for _, index in sets:
        terms = wanted.one_of[index]
        source += f" AND EXISTS (SELECT 1 FROM term o WHERE o.term IN ({_marks(terms)}) AND o.seq = t.seq)"
        parameters += terms
    if terms := wanted.none_of:
        source += (
            f" AND NOT EXISTS (SELECT 1 FROM term o WHERE o.term IN ({_marks(terms)}) AND o.seq = t.seq)"
        )
        parameters += wanted.none_of
    for column, (low, high) in (("height", wanted.heights), ("timestamp", wanted.times)):
        for bound, side, beyond in ((low, ">=", ">="), (high, "<", ">")):
            if bound is not None:  # 2^62: there is no such block yet
                begins = f"SELECT first FROM block WHERE {column} {beyond} ? ORDER BY {column} LIMIT 1"
                source += f" AND t.seq {side} ifnull(({begins}), 1 << 62)"
                parameters.append(bound)
    return source, parameters


def _rarest_first(connection: sqlite3.Connection, one_of: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Return the sets of terms as (number of entries, index of the set), the rarest first.

    Entries are counted only until one set proves to be rarer: if all are common, millions of entries may lie
    between two hits.
    """
    most = _RARE
    while True:
        counted = sorted((_frequency(connection, terms, most), index) for index, terms in enumerate(one_of))
        if len(counted) < 2 or counted[0][0] < most or most >= GRAPHQL_COUNTED_MAX:
            return counted
        most *= 10


def _frequency(connection: sqlite3.Connection, terms: Sequence[int], most: int) -> int:
    """Return how many entries these terms have, counted up to `most`."""
    sql = f"SELECT count(*) FROM (SELECT 1 FROM term WHERE term IN ({_marks(terms)}) LIMIT {most})"
    return int(connection.execute(sql, terms).fetchone()[0])


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
