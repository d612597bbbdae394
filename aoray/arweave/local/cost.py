"""The cost of a GraphQL query, determined before any of it is run. Pure.

Cost grows by aliases (each is a field of its own), by pages (everything below `edges` occurs once for each
entry) and by fragments (wherever they are spread). `check` refuses an operation that is too deep, has too
many fields or searches, or whose answer could have too many values, so nobody can keep a gateway busy for
long with one short query. It must run before `graphql.validate`, whose own work grows with the square of the
number of fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)

from aoray import limits
from aoray.errors import TooLarge

PAGE_DEFAULT = 10
DIGITS_MAX = 18  # of a number; Python refuses to parse thousands of digits
TIMES = {"tags": 8, "__schema": 50}  # about how often what is below these fields occurs

Fragments = Mapping[str, FragmentDefinitionNode]


class Seen(NamedTuple):
    """A field of a query, or a spread fragment (`field` is None), with its depth and how often it occurs in
    the answer."""

    field: FieldNode | None
    depth: int
    times: int


def check(document: DocumentNode, variables: Mapping[str, Any]) -> None:
    """Raise `TooLarge` if an operation of the document costs too much."""
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            _weigh(definition.selection_set, {}, fragments)
        elif isinstance(definition, OperationDefinitionNode):
            given = _defaults(definition) | dict(variables)
            _weigh(definition.selection_set, given, fragments)


def _defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    found = {each.variable.name.value: each.default_value for each in operation.variable_definitions or ()}
    return {name: _number(value) for name, value in found.items() if isinstance(value, IntValueNode)}


def _number(literal: IntValueNode) -> int:
    """Return a number in a query. For one with too many digits, any value beyond the bounds will do."""
    return int(literal.value) if len(literal.value) <= DIGITS_MAX else limits.GRAPHQL_PAGE_MAX


def _weigh(selections: SelectionSetNode, variables: Mapping[str, Any], fragments: Fragments) -> None:
    fields = spreads = searches = values = 0
    for seen in _walk(selections, variables, fragments, 1, 1):
        spreads += seen.field is None
        fields += seen.field is not None
        searches += seen.field is not None and (seen.depth == 1 or seen.field.name.value == "count")
        values += seen.times
        for what, size, bound in (
            ("levels", seen.depth, limits.GRAPHQL_DEPTH_MAX),
            ("fields", fields, limits.GRAPHQL_FIELDS_MAX),
            ("spread fragments", spreads, limits.GRAPHQL_SPREADS_MAX),
            ("searches (root fields and counts)", searches, limits.GRAPHQL_SEARCHES_MAX),
            ("values in its answer", values, limits.GRAPHQL_COST_MAX),
        ):
            if size > bound:
                raise TooLarge(
                    f"the query has more than {bound} {what}",
                    hint="Ask for less at once: shorter pages, fewer fields.",
                )


def _walk(
    selections: SelectionSetNode, variables: Mapping[str, Any], fragments: Fragments, depth: int, times: int
) -> Iterator[Seen]:
    """Yield every field, with fragments spread out. A cycle of fragments is ended by the caller's bounds."""
    for node in selections.selections:
        if isinstance(node, FieldNode):
            yield Seen(node, depth, times)
            if node.selection_set:
                below = times * _times(node, variables)
                yield from _walk(node.selection_set, variables, fragments, depth + 1, below)
        elif isinstance(node, InlineFragmentNode):
            yield Seen(None, depth, 0)
            yield from _walk(node.selection_set, variables, fragments, depth, times)
        elif isinstance(node, FragmentSpreadNode) and node.name.value in fragments:
            yield Seen(None, depth, 0)
            yield from _walk(fragments[node.name.value].selection_set, variables, fragments, depth, times)


def _times(field: FieldNode, variables: Mapping[str, Any]) -> int:
    """Return how often what is below a field occurs: for a field with pages, once for each entry."""
    name = field.name.value
    if name not in ("transactions", "blocks"):
        return TIMES.get(name, 1)
    given: Any = PAGE_DEFAULT
    for argument in field.arguments or ():
        if argument.name.value == "first":
            value = argument.value
            given = (
                variables.get(value.name.value, PAGE_DEFAULT) if isinstance(value, VariableNode) else value
            )
            given = _number(given) if isinstance(given, IntValueNode) else given
    size = given if isinstance(given, int) and not isinstance(given, bool) else PAGE_DEFAULT
    return max(1, min(size, limits.GRAPHQL_PAGE_MAX))
