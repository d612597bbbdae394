"""HTTP servers: sockets, and uvicorn over `connection`."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

from aoray.errors import ClientError
from aoray.web.connection import BoundedProtocol

BACKLOG = 2048
KEEP_ALIVE_S = 75


def listen(host: str, port: int, *, shared: bool) -> socket.socket:
    """Open a listening socket. Raises `ClientError` if the address is in use. `shared` lets several
    gateways of one machine listen on it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=shared)
    except OSError as error:
        raise ClientError(
            f"can't listen on {host}:{port}: {error.strerror}",
            hint="Is another computer running? Give this one its own --port (five in a row are used)."
            " Or is --host no address of this machine?",
            host=host,
            port=port,
        ) from error


async def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Run one application on its socket."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",  # at warnings each connection that speaks no HTTP is one
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=BACKLOG,
    )
    await uvicorn.Server(config).serve(sockets=[listening])
