"""uvicorn's HTTP protocol has every field and method of its own that `web/connection` uses.

They are not in its documented interface, so it is pinned to one minor version; a new one is tried here.
"""

from __future__ import annotations

import ast
import inspect

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aoray.web.connection import BoundedProtocol


def names_of(kind: type, *, only_made: bool) -> set[str]:
    """The attributes of itself that a class uses; or those that it makes, with its methods."""
    fields = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(kind)))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and (not only_made or isinstance(node.ctx, ast.Store))
    }
    return fields | set(dir(kind)) if only_made else fields


def test_what_connections_use_of_uvicorns_protocol_is_there() -> None:
    used = names_of(BoundedProtocol, only_made=False)
    theirs = names_of(HttpToolsProtocol, only_made=True)
    own = names_of(BoundedProtocol, only_made=True) - set(dir(HttpToolsProtocol))
    assert used & theirs, "nothing of uvicorn's is used: this test looks at the wrong class"
    assert used <= theirs | own
