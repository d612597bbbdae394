"""A client of any Arweave over HTTP: of the embedded Arweave, or of a gateway with a bundler.

The scheduler's flusher posts bundles with it, process actors fetch modules, and gateways look up items and
the height.

Invariants: `item` returns only an item whose signature verifies and whose id is the requested one, whatever
the gateway answers. `data` and `tags` are not verified; `height` is checked by `heights`. Bodies are bounded.
Every request has a deadline for the whole, which is extended only in proportion to the bytes transferred, so
a server that sends a byte now and then can't hold a caller. Nothing is retried here: what may be retried is
`Unavailable`, and the caller decides for how long.

On failure: `NotFound` for 404 (and for a text that is not an id), `Unavailable` if the connection fails or
the server is at fault (5xx, 429), `BadSignature` or `ClientError` for other refusals, `MalformedInput` for
malformed answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import httpx
import orjson

from aoray.arweave.heights import Heights
from aoray.errors import BadSignature, ClientError, MalformedInput, NotFound, TooLarge, Unavailable
from aoray.limits import ARWEAVE_BYTES_PER_SECOND_MIN, ARWEAVE_SECONDS_MAX, UPLOAD_BYTES_MAX
from aoray.protocol.ans104.items import ANCHOR_BYTES, DataItem, rebuild
from aoray.protocol.ids import b64url_decode, is_id
from aoray.protocol.signed import ANS104, parse, verify
from aoray.protocol.tags import Tags, from_json
from aoray.protocol.transactions import from_json as transaction_from_json
from aoray.protocol.transactions import raw_of, signed_item
from aoray.web.shares import OWN_WORD

_DIGITS_MAX = 18  # of a height, a price or a count
_TIMEOUT = httpx.Timeout(ARWEAVE_SECONDS_MAX, connect=5)
_LOOK_AGAIN_SECONDS = 1.0
_TAGS = "query ($id: ID!) { transaction(id: $id) { tags { name value } } }"
_FIELDS = """query ($id: ID!) {
  transaction(id: $id) { signature anchor recipient owner { key } tags { name value } }
}"""


class ArweaveClient:
    """A client of one Arweave, given its URL. It belongs to one event loop; close it with `aclose` or `async
    with`."""

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        heights: Heights | None = None,
        own_word: str = "",
    ) -> None:
        """`heights` checks the heights that a gateway reports; without it they are believed. `own_word` is a
        secret that is sent with each request (own_way.py)."""
        self.url = url.rstrip("/")
        self._said = {OWN_WORD: own_word} if own_word else {}
        self._heights = heights
        self._http = httpx.AsyncClient(timeout=_TIMEOUT, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def post_item(self, raw: bytes) -> str:
        """Upload a signed data item or bundle, and return its id once Arweave has it. It may be repeated."""
        headers = {"content-type": "application/octet-stream"}
        answer = _json(await self._request("POST", "/tx", content=raw, headers=headers))
        item_id = answer.get("id") if isinstance(answer, dict) else None
        if not (isinstance(item_id, str) and is_id(item_id)):
            raise MalformedInput(f"{self.url} accepted an upload and gave no id", field="id")
        return item_id

    async def post_transaction(self, transaction: dict[str, Any]) -> None:
        """Post a layer-1 transaction (`transactions.to_json`) to a node."""
        await self._post_json("/tx", transaction)

    async def post_chunk(self, chunk: dict[str, str]) -> None:
        """Post a chunk of a transaction that the node has. It may be repeated."""
        await self._post_json("/chunk", chunk)

    async def _post_json(self, path: str, body: dict[str, Any]) -> None:
        headers = {"content-type": "application/json"}
        await self._request("POST", path, content=orjson.dumps(body), headers=headers)

    async def anchor(self) -> str:
        """Return the id of a recent block, which a transaction names as its anchor."""
        return (await self._request("GET", "/tx_anchor")).decode("ascii", "replace").strip()

    async def block_height(self, block_id: str) -> int:
        """Return the height of a block."""
        path = f"/block/hash/{block_id}"
        return self._number((await self._block(path))["height"], path, "height")

    async def block_id(self, height: int) -> str:
        """Return the id of the block at a height of the chain."""
        return str((await self._block(f"/block/height/{height}"))["indep_hash"])

    async def _block(self, path: str) -> dict[str, Any]:
        answer = _json(await self._request("GET", path))
        if not (isinstance(answer, dict) and answer.keys() >= {"height", "indep_hash"}):
            raise MalformedInput(f"{self.url}{path} is not a block", field="block")
        return answer

    async def price(self, size: int) -> int:
        """Return the price of this many bytes at a node, in winston."""
        text = (await self._request("GET", f"/price/{size}")).decode("ascii", "replace").strip()
        return self._number(text, "/price", "price")

    async def confirmations(self, id: str) -> int:
        """Return how many blocks confirm a transaction; 0 while it is in no block. Raises `NotFound` if the
        node does not know it."""
        body = await self._get(id, "/tx/{}/status")
        if body.strip() == b"Pending":
            return 0
        answer = _json(body)
        found = answer.get("number_of_confirmations") if isinstance(answer, dict) else None
        return self._number(found, f"/tx/{id}/status", "status")

    async def info(self) -> dict[str, Any]:
        """Return the network's `height`, `current` block and more."""
        answer = _json(await self._request("GET", "/info"))
        found = answer if isinstance(answer, dict) else {}
        return found | {"height": self._number(found.get("height"), "/info", "height")}

    async def height(self) -> int:
        """Return the height of the chain. Raises `Unavailable` if the gateway reports a height that is not
        plausible."""
        said = int((await self.info())["height"])
        if self._heights is None:
            return said
        if self._heights.look(said, time.time()):
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            self._heights.look(int((await self.info())["height"]), time.time())
        return self._heights.height

    def _number(self, value: object, path: str, field: str) -> int:
        """Return a number that a server sent in JSON or as text. Raises `MalformedInput`."""
        text = str(value)
        if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
            raise MalformedInput(f"{self.url}{path} did not answer with a number", field=field)
        return int(text)

    async def data(self, id: str, bytes_max: int = 0) -> bytes:
        """Return the data of an item, unverified. Raises `TooLarge` beyond `bytes_max` (0: the bound of
        uploads)."""
        try:
            return await self._get(id, "/raw/{}", bytes_max)
        except NotFound:  # small servers serve data only at the path that browsers use
            return await self._get(id, "/{}", bytes_max)

    async def transaction(self, id: str) -> dict[str, Any]:
        """Return the fields of an item as transaction JSON."""
        answer = _json(await self._get(id, "/tx/{}"))
        if not isinstance(answer, dict):
            raise MalformedInput(f"{self.url}/tx/{id} is not a transaction", field="transaction")
        return answer

    async def tags(self, id: str) -> Tags:
        """Return the tags of an item, unverified."""
        return from_json((await self._node(_TAGS, id)).get("tags"))

    async def item(self, id: str, bytes_max: int = 0) -> DataItem:
        """Return a data item as it was signed, verified. Raises `TooLarge` beyond `bytes_max` (0: the bound
        of uploads), without reading more."""
        try:
            item = parse(await self._get(id, "/tx/{}/item", bytes_max), ANS104, bytes_max=UPLOAD_BYTES_MAX)
        except TooLarge:
            raise
        except ClientError:  # only the embedded Arweave serves complete items
            item = await self._rebuilt(id, bytes_max)
        else:
            await asyncio.to_thread(verify, item)
        if item.id != id:
            raise MalformedInput(f"{self.url} gives item {item.id} for {id}", field="id")
        return item

    async def signed(self, id: str) -> DataItem:
        """Return a data item, or a layer-1 transaction in the form of a data item, verified. A module may be
        either."""
        try:
            return await self.item(id)
        except NotFound:
            raise
        except ClientError:
            with contextlib.suppress(ClientError):  # then the error of `item` counts
                return await self._signed_transaction(id)
            raise

    async def _signed_transaction(self, id: str) -> DataItem:
        found, data = await self.transaction(id), await self.data(id)
        raw = await asyncio.to_thread(lambda: raw_of(transaction_from_json(found), data))
        item = await asyncio.to_thread(signed_item, raw)
        if item.id != id:
            raise MalformedInput(f"{self.url} gives transaction {item.id} for {id}", field="id")
        return item

    async def _rebuilt(self, id: str, bytes_max: int) -> DataItem:
        node = await self._node(_FIELDS, id)
        data = await self.data(id, bytes_max)
        try:
            parts: dict[str, Any] = {
                "signature": b64url_decode(node["signature"], field="signature"),
                "owner": b64url_decode(node["owner"]["key"], field="owner"),
                "target": b64url_decode(node["recipient"] or "", field="recipient"),
                "anchor": _anchor(node["anchor"] or ""),
                "tags": from_json(node["tags"]),
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise MalformedInput(
                f"{self.url} does not know all the parts of {id}", field=str(error)
            ) from error
        return await asyncio.to_thread(rebuild, data=data, **parts)

    async def _node(self, query: str, id: str) -> dict[str, Any]:
        node = (await self.graphql(query, {"id": id})).get("transaction") if is_id(id) else None
        if not isinstance(node, dict):
            raise NotFound(f"{self.url} has no such item", id=id)
        return node

    async def graphql(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the `data` of the answer to a GraphQL query. Raises the first error in the answer as
        `ClientError`."""
        headers = {"content-type": "application/json"}
        body = orjson.dumps({"query": query, "variables": variables or {}})
        answer = _json(await self._request("POST", "/graphql", content=body, headers=headers))
        answer = answer if isinstance(answer, dict) else {}
        if errors := answer.get("errors"):
            raise ClientError(f"{self.url}/graphql: {_first_message(errors)}")
        data = answer.get("data")
        if not isinstance(data, dict):
            raise MalformedInput(f"{self.url}/graphql gave no data", field="data")
        return data

    async def _get(self, id: str, path: str, bytes_max: int = 0) -> bytes:
        if not is_id(id):
            raise NotFound(f"{self.url} has no such item", id=id)
        return await self._request("GET", path.format(id), bytes_max=bytes_max)

    async def _request(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        bytes_max: int = 0,
    ) -> bytes:
        """Return the body of a successful answer. Only a GET follows redirects."""
        where = f"{method} {self.url}{path}"
        seconds = _seconds_for(len(content))
        sent = {**self._said, **(headers or {})}
        held, body_of = [content], None
        if content:
            sent["content-length"], body_of = str(len(content)), _let_go(held)
        del content
        request = self._http.build_request(method, self.url + path, content=body_of, headers=sent)
        try:
            async with asyncio.timeout(seconds) as deadline:
                response = await self._http.send(request, stream=True, follow_redirects=method == "GET")
                try:
                    body = await _bounded(response, deadline, seconds, bytes_max or UPLOAD_BYTES_MAX)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise Unavailable(
                f"{where}: no complete answer in time ({seconds:.0f} s, and more for each byte received)",
                hint="Check that Arweave can be reached.",
            ) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise Unavailable(
                f"{where}: {error or type(error).__name__}", hint="Check that Arweave can be reached."
            ) from error
        finally:
            held.clear()
        _raise_for(where, response.status_code, body)
        return body


async def _let_go(held: list[bytes]) -> AsyncIterator[bytes]:
    """Yield the body of a request, and drop the reference to it.

    httpx's response and its request refer to each other, so only the garbage collector frees what the request
    holds. The collector seldom runs in an actor, and bundles are large.
    """
    yield held.pop()


def _seconds_for(size: int) -> float:
    """Return the time in which this many bytes must be transferred."""
    return ARWEAVE_SECONDS_MAX + size / ARWEAVE_BYTES_PER_SECOND_MIN


async def _bounded(
    response: httpx.Response, deadline: asyncio.Timeout, seconds: float, bytes_max: int
) -> bytes:
    begun = asyncio.get_running_loop().time()
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        deadline.reschedule(begun + seconds + size / ARWEAVE_BYTES_PER_SECOND_MIN)
        if size > bytes_max:
            raise TooLarge(f"{response.url} has over {bytes_max} bytes", bytes_max=bytes_max)
        chunks.append(chunk)
    return b"".join(chunks)


def _raise_for(where: str, status: int, body: bytes) -> None:
    if status < 300:
        return
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    said = answer.get("error") or _first_message(answer.get("errors")) or body[:200].decode(errors="replace")
    message = f"{where}: {status} {said}"
    if status >= 500 or status == 429:
        raise Unavailable(message)
    if status == 404:
        raise NotFound(message)
    raise (BadSignature if answer.get("code") == BadSignature.code else ClientError)(message)


def _first_message(errors: object) -> str:
    found = errors[0] if isinstance(errors, list) and errors else errors
    return str(found.get("message")) if isinstance(found, dict) else str(found or "")


def _anchor(text: str) -> bytes:
    """Return the bytes of an anchor, which gateways give in base64url or as they are."""
    return text.encode() if len(text) == ANCHOR_BYTES else b64url_decode(text, field="anchor")


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedInput(f"Arweave's answer is not JSON: {error}", field="answer") from error
