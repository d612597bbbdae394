"""`/openapi.json` with what tables say of the routes, beyond what FastAPI reads off them.

Whoever has routes hands in a table of them: each dialect, the routes by which a gateway says how it is, the
embedded Arweave. The routes take their queries and bodies apart by themselves, as AO's clients send them
(`limit=undefined`, raw bytes), and hot ones are plain Starlette routes that FastAPI does not know: so their
parameters, bodies and answers are in the tables. A route that is in none keeps what FastAPI says of it. Every
error is a 4xx (or 503) with the JSON of `errors.body_of`.

Invariant: what is described is there, and is answered as described: tests/fuzz sends what the tables allow
and what they do not, and holds the answers against them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from fastapi import FastAPI
from starlette.routing import Route

Schema = Mapping[str, Any]


OCTETS, JSON, TEXT, ANY = "application/octet-stream", "application/json", "text/plain", "*/*"
METHODS = {"get", "post", "put", "delete"}


STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer"}
LIST: Schema = {"type": "array"}
BINARY: Schema = {"type": "string", "format": "binary"}
ID: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"}


def an_object(**properties: Schema) -> Schema:
    """Return the schema of an object that has all these fields, and may have more."""
    return {"type": "object", "required": sorted(properties), "properties": properties}


def a_page(info: str, more: str) -> Schema:
    """Return the schema of a page: `info` with the boolean `more`, and edges with nodes and cursors."""
    return an_object(**{
        info: an_object(**{more: {"type": "boolean"}}),
        "edges": {"type": "array", "items": an_object(node={"type": "object"}, cursor=STRING)},
    })  # fmt: skip


ERROR = an_object(error=STRING, code=STRING)


class RouteSpec(NamedTuple):
    """The description of one operation: its answers by status and media type, its query by names, its
    body."""

    answers: Mapping[str, Mapping[str, Schema]]
    query: Mapping[str, Schema] = MappingProxyType({})
    body: tuple[str, Schema] | None = None


def pick(schemas: Mapping[str, Schema], *names: str) -> Mapping[str, Schema]:
    """Return the query parameters with these names."""
    return {name: schemas[name] for name in names}


def ok(schema: Schema, status: str = "200") -> dict[str, Mapping[str, Schema]]:
    """Return the answers of an operation that answers with JSON."""
    return {status: {JSON: schema}}


WORDS: Mapping[str, Mapping[str, Schema]] = {"200": {TEXT: STRING}}
BYTES: Mapping[str, Mapping[str, Schema]] = {"200": {ANY: {}}, "206": {ANY: {}}}


RouteTable = Mapping[tuple[str, str], RouteSpec]  # by method and path


def merged(tables: Iterable[RouteTable]) -> RouteTable:
    """Merge several tables into one. As with routes, the first one that has an operation answers for it."""
    found: dict[tuple[str, str], RouteSpec] = {}
    for table in tables:
        found = {**table, **found}
    return found


class DocumentedApp(FastAPI):
    """An application whose `/openapi.json` includes the descriptions of its table."""

    table: RouteTable = MappingProxyType({})

    def openapi(self) -> dict[str, Any]:
        """Return FastAPI's description, with the plain routes and the table's descriptions added to it."""
        made, schema = self.openapi_schema is None, super().openapi()  # which FastAPI keeps
        if made:
            paths = schema.setdefault("paths", {})
            for path, method in self._plain():
                paths.setdefault(path, {}).setdefault(method, {"parameters": _of_path(path)})
            for path, operations in paths.items():
                for method in METHODS & operations.keys():
                    _describe(operations[method], self.table.get((method, path)))
        return schema

    def _plain(self) -> list[tuple[str, str]]:
        """The routes that FastAPI does not know, as far as they are in the table."""
        routes = [route for route in self.router.routes if isinstance(route, Route)]
        found = [(route.path, method.lower()) for route in routes for method in route.methods or ()]
        return [(path, method) for path, method in found if (method, path) in self.table]


def _describe(operation: dict[str, Any], told: RouteSpec | None) -> None:
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)  # FastAPI's; ours is 400
    for status in ("4XX", "503"):
        responses[status] = {"description": "An error", "content": {JSON: {"schema": ERROR}}}
    if told is None:
        return
    responses.pop("200", None)
    for status, media in told.answers.items():
        content = {kind: {"schema": schema} for kind, schema in media.items()}
        responses[status] = {"description": "An answer", "content": content}
    known = operation.get("parameters", [])
    operation["parameters"] = known + [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in told.query.items()
    ]
    if told.body:
        kind, schema = told.body
        operation["requestBody"] = {"required": False, "content": {kind: {"schema": schema}}}


def _of_path(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": STRING} for name in names]
