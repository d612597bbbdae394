"""Arweave's GraphQL over the store, on graphql-core, with the schema of arweave.net and Goldsky.

`Graph.execute` runs a query, and returns the status and the JSON of the answer. It blocks (parsing, SQLite),
so it is called in a thread. Parsed queries are cached, since clients send the same few.

Tags are filtered as Goldsky's search service does: a filter without `values` finds items with any tag of that
name, one without a `name` finds the value under any name, and `match` is EXACT, WILDCARD, FUZZY_OR or
FUZZY_AND.

Invariants: a query's text, depth, fields, searches, page size, filter values, and the size of its answer are
bounded before it runs (`cost`, `limits.GRAPHQL_*`); the work and the time of all its searches are bounded by
one `Budget`. What exceeds a bound is refused, not truncated. Different filters must all match (`owners` with
`tags`, each tag filter with the others); the values of one filter are alternatives. An empty list or null
filters nothing, as on arweave.net.

On failure: a fault of the request is in `errors` (with its code in `extensions`), with status 400 if there is
no data at all, and 503 if the query took too long.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLResolveInfo,
    build_schema,
    default_field_resolver,
    execute_sync,
    parse,
    validate,
)

from aoray import limits
from aoray.arweave.local import cost
from aoray.arweave.local.intake import PAIRED, pair, term
from aoray.arweave.local.matching import TagTest
from aoray.arweave.local.rows import Block, Stored
from aoray.arweave.local.search import Filter, SearchPage, new_budget
from aoray.arweave.local.store import ArweaveStore
from aoray.errors import AorayError, ClientError, InfrastructureError, MalformedInput, NotFound, TooLarge
from aoray.protocol.ids import b64url_decode, b64url_encode, is_id
from aoray.protocol.tags import as_json, first
from aoray.util.turns import Budget

_log = logging.getLogger(__name__)

SCHEMA = build_schema("""
type Query {
  transaction(id: ID!): Transaction
  transactions(
    ids: [ID!], owners: [String!], recipients: [String!], tags: [TagFilter!], bundledIn: [ID!],
    ingested_at: RangeFilter, block: BlockFilter,
    first: Int = 10, after: String, sort: SortOrder = HEIGHT_DESC
  ): TransactionConnection!
  block(id: String, height: Int): Block
  blocks(
    ids: [ID!], height: BlockFilter, first: Int = 10, after: String, sort: SortOrder = HEIGHT_DESC
  ): BlockConnection!
}
enum SortOrder { HEIGHT_ASC HEIGHT_DESC INGESTED_AT_ASC INGESTED_AT_DESC }
enum TagOperator { EQ NEQ }
"WILDCARD: * is any text. FUZZY: words that are alike, one of them or all."
enum TagMatch { EXACT WILDCARD FUZZY_AND FUZZY_OR }
"Without values: the tag is there. Without a name: any tag."
input TagFilter { name: String, values: [String!], op: TagOperator = EQ, match: TagMatch = EXACT }
"Heights, both included."
input BlockFilter { min: Int, max: Int }
"Seconds, both included."
input RangeFilter { min: Int, max: Int }
type TransactionConnection { count: String, pageInfo: PageInfo!, edges: [TransactionEdge!]! }
type TransactionEdge { cursor: String!, node: Transaction! }
type PageInfo { hasNextPage: Boolean! }
type Transaction {
  id: ID!, anchor: String!, signature: String!, recipient: String!, owner: Owner!,
  fee: Amount!, quantity: Amount!, data: MetaData!,
  tags: [Tag!]!, block: Block, parent: Parent, bundledIn: Bundle, ingested_at: Int
}
type Owner { address: String!, key: String! }
type Amount { winston: String!, ar: String! }
type MetaData { size: String!, type: String }
type Tag { name: String!, value: String! }
type Block { id: ID!, timestamp: Int!, height: Int!, previous: ID! }
type Parent { id: ID! }
type Bundle { id: ID! }
type BlockConnection { pageInfo: PageInfo!, edges: [BlockEdge!]! }
type BlockEdge { cursor: String!, node: Block! }
""")

_HEIGHT_MAX = 2**31 - 1
_RESOLVED_BETWEEN_LOOKS = 256


class Graph:
    """The GraphQL interface of one store."""

    def __init__(self, store: ArweaveStore) -> None:
        self._root = _Root(store)

    def execute(
        self,
        query: str,
        variables: dict[str, Any] | None = None,
        operation: str | None = None,
        budget: Budget | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Execute a query, and return the HTTP status and the body."""
        budget = budget or new_budget()
        try:
            document = _parsed(query)
            cost.check(document, variables or {})
            _validate(query, document)
        except GraphQLError as error:
            return 400, {"errors": [_formatted(error)]}
        except AorayError as error:
            return 400, {"errors": [_formatted(GraphQLError(error.message, original_error=error))]}
        result = execute_sync(
            SCHEMA,
            document,
            self._root,
            context_value=budget,
            variable_values=variables,
            operation_name=operation,
            field_resolver=_resolver(budget),
        )
        body: dict[str, Any] = {"data": result.data}
        if result.errors:
            body["errors"] = [_formatted(error) for error in result.errors[: limits.GRAPHQL_ERRORS_MAX]]
        late = any(isinstance(error.original_error, InfrastructureError) for error in result.errors or ())
        return 503 if late else 400 if result.data is None else 200, body


def _resolver(budget: Budget) -> Callable[..., Any]:
    """Return graphql-core's default resolver, extended to fail when the budget is used up."""
    resolved, over = 0, False

    def resolve(source: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        nonlocal resolved, over
        resolved += 1
        if over or resolved % _RESOLVED_BETWEEN_LOOKS == 0:
            over = budget.fault is not None
            budget.check()
        return default_field_resolver(source, info, **arguments)

    return resolve


class _Root:
    """The resolvers of the fields of `Query`."""

    def __init__(self, store: ArweaveStore) -> None:
        self._store = store

    def transaction(self, _: GraphQLResolveInfo, id: str) -> dict[str, Any] | None:
        try:
            return self._nodes([self._store.mined(id)])[0]
        except NotFound:
            return None

    def transactions(
        self, info: GraphQLResolveInfo, first: int | None = 10, **filters: Any
    ) -> dict[str, Any]:
        budget: Budget = info.context
        budget.check()
        size = _page_size(first)
        sort, after = filters.get("sort") or "HEIGHT_DESC", _cursor(filters.get("after"))
        wanted = _filter(filters)
        if wanted is None:
            return {"count": "0", **_connection([], [], 0)}
        found = self._store.find(wanted, SearchPage(size + 1, after, sort.endswith("ASC")), budget)
        page = found[:size]
        connection = _connection([str(hit.seq) for hit in page], self._nodes(page), len(found) - len(page))
        count = cache(lambda: str(self._store.count(wanted, budget)))  # a query may have the field many times
        return {"count": lambda _: count(), **connection}

    def block(
        self, _: GraphQLResolveInfo, id: str | None = None, height: int | None = None
    ) -> dict[str, Any] | None:
        if id is None and height is None:
            return self._store.tip()._asdict()
        try:
            return self._store.block(height=height, block_id=id)._asdict()
        except NotFound:
            return None

    def blocks(self, _: GraphQLResolveInfo, first: int | None = 10, **filters: Any) -> dict[str, Any]:
        size = _page_size(first)
        ascending = (filters.get("sort") or "HEIGHT_DESC").endswith("ASC")
        low, high = _range(filters.get("height"))
        found = self._store.blocks(
            ids=_bounded(filters.get("ids") or []) or None,
            height_min=low or 0,
            height_max=_HEIGHT_MAX if high is None else high,
            after=_cursor(filters.get("after")),
            first=size + 1,
            ascending=ascending,
        )
        page = found[:size]
        nodes = [block._asdict() for block in page]
        return _connection([str(block.height) for block in page], nodes, len(found) - len(page))

    def _nodes(self, page: Sequence[Stored]) -> list[dict[str, Any]]:
        blocks = self._store.blocks_at(hit.height for hit in page)
        return [self._node(hit, blocks.get(hit.height)) for hit in page]

    def _node(self, hit: Stored, block: Block | None) -> dict[str, Any]:
        item, transaction = self._store.fields(hit)
        bundle = {"id": hit.bundled_in} if hit.bundled_in else None
        return {
            "id": hit.id,
            "anchor": b64url_encode(item.anchor),
            "signature": b64url_encode(item.signature),
            "recipient": item.target_id,
            "owner": {"address": item.address, "key": item.owner_key},
            "fee": _amount(transaction.reward if transaction else 0),
            "quantity": _amount(transaction.quantity if transaction else 0),
            "data": {
                "size": str(transaction.data_size if transaction else hit.data_size),
                "type": first(item.tags, "Content-Type"),
            },
            "tags": as_json(item.tags),
            "block": block and block._asdict(),
            "parent": bundle,
            "bundledIn": bundle,
            "ingested_at": block and block.timestamp,
        }


def _amount(winston: int) -> dict[str, str]:
    return {"winston": str(winston), "ar": f"{winston // 10**12}.{winston % 10**12:012}"}


def _filter(filters: Mapping[str, Any]) -> Filter | None:
    """Return the search for GraphQL's arguments; None if nothing can match."""
    ids = filters.get("ids") or []
    known_ids = [b64url_decode(wanted) for wanted in ids if is_id(wanted)]
    if ids and not known_ids:
        return None
    one_of: list[list[int]] = []
    none_of: list[int] = []
    tests: list[TagTest] = []
    for argument, kind in (("owners", "owner"), ("recipients", "recipient"), ("bundledIn", "bundle")):
        if values := filters.get(argument):
            one_of.append([term(kind, value) for value in values])
    for tag in filters.get("tags") or ():
        _add_tag(tag, one_of, none_of, tests)
    _bounded(
        [*ids, *none_of, *chain.from_iterable(one_of), *(value for t in tests for value in t.values or ())]
    )
    times, heights = _range(filters.get("ingested_at")), _range(filters.get("block"))
    return Filter(known_ids, one_of, none_of, heights, times, tests, _pairs(filters), _by_name(filters))


def _pairs(filters: Mapping[str, Any]) -> list[list[int]]:
    """Return the terms for each owner together with each process, from tag filters that must match."""
    owners = filters.get("owners") or ()
    found = (
        [pair(owner, value) for owner in owners for value in tag["values"]]
        for tag in filters.get("tags") or ()
        if tag.get("name") == PAIRED and tag.get("values") and _is_plain(tag)
    )
    return [terms for terms in found if 0 < len(terms) <= limits.GRAPHQL_PAIRS_MAX]


def _is_plain(tag: Mapping[str, Any]) -> bool:
    return (tag.get("match") or "EXACT") == "EXACT" and tag.get("op") != "NEQ"


def _by_name(filters: Mapping[str, Any]) -> bool:
    """Return whether the search needs the index by names of tags."""
    tags = filters.get("tags") or ()
    return any(tag.get("match", "EXACT") != "EXACT" or not tag.get("values") for tag in tags)


def _add_tag(
    tag: Mapping[str, Any], one_of: list[list[int]], none_of: list[int], tests: list[TagTest]
) -> None:
    """Add one tag filter: as terms of the index if they express it, and otherwise as a test."""
    name, values = tag.get("name"), tag.get("values")
    match, negated = tag.get("match") or "EXACT", tag.get("op") == "NEQ"
    if ("values" in tag and not values) or (name is None and values is None):
        if name is None:
            raise MalformedInput("a tag filter has a name, values, or both", field="tags")
        return
    if name is None or (values and match != "EXACT"):
        tests.append(TagTest(name, values, match, negated))
        if name is not None and not negated:
            one_of.append([term("name", name)])
        return
    terms = [term("tag", value, name) for value in values] if values else [term("name", name)]
    if negated:
        none_of += terms
    else:
        one_of.append(terms)


def _range(bounds: Mapping[str, Any] | None) -> tuple[int | None, int | None]:
    return (bounds.get("min"), bounds.get("max")) if bounds else (None, None)


def _page_size(first: int | None) -> int:
    size = 10 if first is None else first
    if not 0 <= size <= limits.GRAPHQL_PAGE_MAX:
        raise ClientError(
            f"a page can't have {size} entries",
            hint=f"`first` is 0 to {limits.GRAPHQL_PAGE_MAX}; go on with `after`.",
        )
    return size


def _cursor(after: str | None) -> int | None:
    if not after:
        return None
    if not (after.isascii() and after.isdecimal() and len(after) < 19):
        raise MalformedInput(
            "the cursor is not one of this Arweave",
            hint="Take the `cursor` of an edge of the page before.",
            field="after",
        )
    return int(after)


def _bounded(values: list[Any]) -> list[Any]:
    if len(values) > limits.GRAPHQL_VALUES_MAX:
        raise TooLarge(f"a filter has {len(values)} values", hint=f"At most {limits.GRAPHQL_VALUES_MAX}.")
    return values


def _connection(cursors: Sequence[str], nodes: Sequence[Any], more: int) -> dict[str, Any]:
    edges = [{"cursor": cursor, "node": node} for cursor, node in zip(cursors, nodes, strict=True)]
    return {"pageInfo": {"hasNextPage": more > 0}, "edges": edges}


def _parsed(query: str) -> DocumentNode:
    """Return the parsed query. Short queries are cached, since clients send the same few; a long one would
    take megabytes."""
    return _parsed_before(query) if _is_short(query) else _parse(query)


def _validate(query: str, document: DocumentNode) -> None:
    """Raise the first error of a query whose cost is within bounds."""
    if _is_short(query):
        _validated_before(query)
    else:
        _check_valid(document)


def _is_short(query: str) -> bool:
    return len(query) <= limits.GRAPHQL_KEPT_CHARACTERS_MAX


def _parse(query: str) -> DocumentNode:
    return parse(query, max_lexical_tokens=limits.GRAPHQL_TOKENS_MAX)


def _check_valid(document: DocumentNode) -> None:
    if errors := validate(SCHEMA, document, max_errors=1):
        raise errors[0]


_parsed_before = lru_cache(maxsize=limits.GRAPHQL_KEPT_MAX)(_parse)


@lru_cache(maxsize=limits.GRAPHQL_KEPT_MAX)
def _validated_before(query: str) -> None:
    _check_valid(_parsed_before(query))


def _formatted(error: GraphQLError) -> dict[str, Any]:
    formatted: dict[str, Any] = dict(error.formatted)
    cause = error.original_error
    if isinstance(cause, AorayError):
        formatted["extensions"] = {"code": cause.code, "hint": cause.hint}
    elif cause is not None and not isinstance(cause, GraphQLError):
        _log.error("a GraphQL query failed", exc_info=cause)
        formatted["message"] = "internal error"
    return formatted
