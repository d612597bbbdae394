"""Arweave's GraphQL over the store: the schema that arweave.net and Goldsky answer, on graphql-core.

`Graph.execute` takes a request's query and gives the status and the JSON to answer. It blocks (parsing,
SQLite), so it is called in a thread. Parsed queries are kept, since clients send the same few.

Invariants: a query's text, depth, fields, searches, page size and filter values are bounded
(`limits.GRAPHQL_*`), each search's work as well; whatever is over a bound is refused, not cut. Filters that
AND together: `owners` with `tags`, each tag filter with the others; values within one are alternatives. An
empty list filters nothing, as on arweave.net.

On failure: a fault of the request is in `errors` (with its code in `extensions`), with 400 when there is no
data at all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLResolveInfo,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from aoray import limits
from aoray.arweave.intake import term
from aoray.arweave.search import Filter, Page
from aoray.arweave.store import ArweaveStore, Block, Stored
from aoray.errors import AorayError, ClientError, MalformedInput, NotFound, TooLarge
from aoray.protocol.ids import b64url_decode, b64url_encode, is_id
from aoray.protocol.tags import as_json, first

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
"Only EXACT is answered here."
enum TagMatch { EXACT WILDCARD FUZZY_AND FUZZY_OR }
input TagFilter { name: String!, values: [String!]!, op: TagOperator = EQ, match: TagMatch = EXACT }
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

_NOTHING = {"winston": "0", "ar": "0.000000000000"}
_HEIGHT_MAX = 2**31 - 1


class Graph:
    """GraphQL over one store."""

    def __init__(self, store: ArweaveStore) -> None:
        self._root = _Root(store)

    def execute(
        self, query: str, variables: dict[str, Any] | None = None, operation: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The HTTP status and the body for a query."""
        try:
            document = _checked(query)
        except GraphQLError as error:
            return 400, {"errors": [_formatted(error)]}
        except AorayError as error:
            return 400, {"errors": [_formatted(GraphQLError(error.message, original_error=error))]}
        result = execute_sync(
            SCHEMA, document, self._root, variable_values=variables, operation_name=operation
        )
        body: dict[str, Any] = {"data": result.data}
        if result.errors:
            body["errors"] = [_formatted(error) for error in result.errors]
        return (400 if result.data is None else 200), body


class _Root:
    """The fields of `Query`."""

    def __init__(self, store: ArweaveStore) -> None:
        self._store = store

    def transaction(self, _: GraphQLResolveInfo, id: str) -> dict[str, Any] | None:
        try:
            return self._nodes([self._store.mined(id)])[0]
        except NotFound:
            return None

    def transactions(self, _: GraphQLResolveInfo, first: int | None = 10, **filters: Any) -> dict[str, Any]:
        size = _page_size(first)
        sort, after = filters.get("sort") or "HEIGHT_DESC", _cursor(filters.get("after"))
        wanted = _filter(filters)
        if wanted is None:
            return {"count": "0", **_connection([], [], 0)}
        found = self._store.find(wanted, Page(size + 1, after, sort.endswith("ASC")))
        page = found[:size]
        connection = _connection([str(hit.seq) for hit in page], self._nodes(page), len(found) - len(page))
        return {"count": lambda _: str(self._store.count(wanted)), **connection}

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
        item = self._store.header(hit)
        bundle = {"id": hit.bundled_in} if hit.bundled_in else None
        return {
            "id": hit.id,
            "anchor": b64url_encode(item.anchor),
            "signature": b64url_encode(item.signature),
            "recipient": item.target_id,
            "owner": {"address": item.address, "key": item.owner_key},
            "fee": _NOTHING,
            "quantity": _NOTHING,
            "data": {"size": str(hit.data_size), "type": first(item.tags, "Content-Type")},
            "tags": as_json(item.tags),
            "block": block and block._asdict(),
            "parent": bundle,
            "bundledIn": bundle,
            "ingested_at": block and block.timestamp,
        }


def _filter(filters: Mapping[str, Any]) -> Filter | None:
    """A search from GraphQL's arguments; None when nothing can be found."""
    ids = filters.get("ids") or []
    known_ids = [b64url_decode(wanted) for wanted in ids if is_id(wanted)]
    if ids and not known_ids:
        return None
    one_of, none_of = [], []
    for argument, kind in (("owners", "owner"), ("recipients", "recipient"), ("bundledIn", "bundle")):
        if values := filters.get(argument):
            one_of.append([term(kind, value) for value in values])
    for tag in filters.get("tags") or ():
        terms = _tag_terms(tag)
        if tag.get("op") == "NEQ":
            none_of += terms
        elif terms:
            one_of.append(terms)
    _bounded([*ids, *none_of, *chain.from_iterable(one_of)])
    return Filter(
        known_ids, one_of, none_of, _range(filters.get("block")), _range(filters.get("ingested_at"))
    )


def _tag_terms(tag: Mapping[str, Any]) -> list[int]:
    if (tag.get("match") or "EXACT") != "EXACT":
        raise ClientError(f"tags match EXACT here, not {tag['match']}", hint="Leave `match` out.")
    return [term("tag", value, tag["name"]) for value in tag["values"]]


def _range(bounds: Mapping[str, Any] | None) -> tuple[int | None, int | None]:
    return (bounds.get("min"), bounds.get("max")) if bounds else (None, None)


def _page_size(first: int | None) -> int:
    size = 10 if first is None else first
    if not 0 <= size <= limits.GRAPHQL_PAGE_MAX:
        raise ClientError(
            f"a page of {size}", hint=f"`first` is 0 to {limits.GRAPHQL_PAGE_MAX}; go on with `after`."
        )
    return size


def _cursor(after: str | None) -> int | None:
    if not after:
        return None
    if not (after.isascii() and after.isdecimal() and len(after) < 19):
        raise MalformedInput("no cursor of ours", field="after")
    return int(after)


def _bounded(values: list[Any]) -> list[Any]:
    if len(values) > limits.GRAPHQL_VALUES_MAX:
        raise TooLarge(f"a filter of {len(values)} values", hint=f"At most {limits.GRAPHQL_VALUES_MAX}.")
    return values


def _connection(cursors: Sequence[str], nodes: Sequence[Any], more: int) -> dict[str, Any]:
    edges = [{"cursor": cursor, "node": node} for cursor, node in zip(cursors, nodes, strict=True)]
    return {"pageInfo": {"hasNextPage": more > 0}, "edges": edges}


@lru_cache(maxsize=256)
def _checked(query: str) -> DocumentNode:
    """A query's text as a document within bounds; raises `GraphQLError` or `ClientError`."""
    document = parse(query, max_lexical_tokens=limits.GRAPHQL_TOKENS_MAX)
    if errors := validate(SCHEMA, document, max_errors=1):
        raise errors[0]
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            _weigh(definition.selection_set, fragments)
    return document


def _weigh(selections: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
    """Refuse an operation too deep or of too many fields or searches; its fragments have no cycle."""
    searches = 0
    for fields, depth in enumerate(_field_depths(selections, fragments, 1), start=1):
        searches += depth == 1
        for what, size, bound in (
            ("levels", depth, limits.GRAPHQL_DEPTH_MAX),
            ("fields", fields, limits.GRAPHQL_FIELDS_MAX),
            ("searches", searches, limits.GRAPHQL_SEARCHES_MAX),
        ):
            if size > bound:
                raise TooLarge(f"the query has more than {bound} {what}")


def _field_depths(
    selections: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode], depth: int
) -> Iterable[int]:
    for node in selections.selections:
        if isinstance(node, FieldNode):
            yield depth
            if node.selection_set:
                yield from _field_depths(node.selection_set, fragments, depth + 1)
        elif isinstance(node, FragmentSpreadNode):
            yield from _field_depths(fragments[node.name.value].selection_set, fragments, depth)
        elif isinstance(node, InlineFragmentNode):
            yield from _field_depths(node.selection_set, fragments, depth)


def _formatted(error: GraphQLError) -> dict[str, Any]:
    formatted: dict[str, Any] = dict(error.formatted)
    cause = error.original_error
    if isinstance(cause, AorayError):
        formatted["extensions"] = {"code": cause.code, "hint": cause.hint}
    elif cause is not None and not isinstance(cause, GraphQLError):
        _log.error("a GraphQL query failed", exc_info=cause)
        formatted["message"] = "internal error"
    return formatted
