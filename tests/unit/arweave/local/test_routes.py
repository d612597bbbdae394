"""The HTTP API answers as Arweave's nodes, gateways and bundlers do, and bad requests with their fault."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from arweave_items import ALICE, bundle, forged, item

from aoray import limits
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.ans104.items import parse, rebuild
from aoray.protocol.ids import b64url_decode, b64url_encode
from aoray.protocol.tags import Tag

OCTETS = {"content-type": "application/octet-stream"}
UNKNOWN = b64url_encode(bytes(32))


async def post(http: httpx.AsyncClient, raw: bytes, path: str = "/tx") -> dict[str, Any]:
    response = await http.post(path, content=raw, headers=OCTETS)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("path", ["/tx", "/tx/arweave", "/tx/ethereum"])
async def test_an_upload_is_answered_as_bundlers_do_and_can_be_repeated(
    http: httpx.AsyncClient, path: str
) -> None:
    sent = item()
    answer = await post(http, sent.raw, path)
    assert answer["id"] == sent.id
    assert answer["owner"] == ALICE.address
    assert answer["winc"] == "0"
    assert answer["timestamp"] == 1_700_000_000_000
    assert {"deadlineHeight", "dataCaches", "fastFinalityIndexes"} <= answer.keys()
    assert await post(http, sent.raw, path) == answer


async def test_a_bundle_can_be_read_item_by_item(http: httpx.AsyncClient) -> None:
    inner = [item(data=b"one"), item(data=b"two")]
    answer = await post(http, bundle(inner).raw)
    assert answer["refused"] == []
    for each in inner:
        assert (await http.get(f"/raw/{each.id}")).content == each.data
        assert (await http.get(f"/tx/{each.id}/item")).content == each.raw


async def test_refused_nested_items_are_named_in_the_answer(http: httpx.AsyncClient) -> None:
    bad = item()
    answer = await post(http, bundle([], data=bundle([bad]).data.replace(bad.raw, forged(bad))).raw)
    assert [refused["id"] for refused in answer["refused"]] == [bad.id]
    assert (await http.get(f"/tx/{bad.id}")).status_code == 404


async def test_data_comes_with_its_type_and_its_tags_as_headers(http: httpx.AsyncClient) -> None:
    sent = item(
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Scheduler", "S"),
        ("Authority", "one"),
        ("Authority", "two"),
        ("Content-Type", "text/html; charset=utf-8"),
        data=b"<p>",
    )
    await post(http, sent.raw)
    for path in (f"/{sent.id}", f"/raw/{sent.id}"):
        response = await http.get(path)
        assert (response.status_code, response.content) == (200, b"<p>")
        assert response.headers.get_list("content-type") == ["text/html; charset=utf-8"]
        assert response.headers["type"] == "Process"
        assert response.headers["data-protocol"] == "ao"
        assert response.headers["scheduler"] == "S"
        assert response.headers.get_list("authority") == ["one", "two"]
        head = await http.head(path)
        assert (head.status_code, head.content, head.headers) == (200, b"", response.headers)


async def test_tags_cannot_forge_or_break_headers(http: httpx.AsyncClient) -> None:
    plain = item(data=b"x")
    hostile = [
        ("Content-Length", "9"),
        ("content-encoding", "gzip"),
        ("Transfer-Encoding", "chunked"),
        ("Set-Cookie", "a=b"),
        ("Location", "http://evil"),
        ("Access-Control-Allow-Origin", "evil"),
        ("Connection", "close"),
        ("ETag", "x"),
        ("Cache-Control", "no-store"),
        ("Content-Type", "text/plain\r\nevil: 1"),
        ("A", "b\r\nevil: 1"),
        ("B\r\nevil", "1"),
        ("C:", "1"),
        ("", "empty"),
        ("Empty", ""),
        ("Wide", "é"),
        ("Snow-☃", "1"),
        ("Space", " x "),
        ("Nul", "a\0b"),
        ("Strict-Transport-Security", "max-age=1"),
        ("X-Frame-Options", "DENY"),
        ("Refresh", "0"),
        ("Fine", "yes sir"),
    ]
    await post(http, plain.raw)
    sent = item(*hostile, data=b"x")
    await post(http, sent.raw)
    expected = dict((await http.get(f"/{plain.id}")).headers) | {"fine": "yes sir", "etag": f'"{sent.id}"'}
    response = await http.get(f"/{sent.id}")
    assert dict(response.headers) == expected
    assert response.headers["content-type"] == "application/octet-stream"


async def test_headers_stay_within_what_clients_read(http: httpx.AsyncClient) -> None:
    sent = item(*[(f"Tag-{n}", "v" * 1000) for n in range(40)])
    await post(http, sent.raw)
    response = await http.get(f"/{sent.id}")
    assert sum(len(name) + len(value) for name, value in response.headers.raw) < 10_000
    assert "tag-0" in response.headers


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-3", 206, 0, 4),
        ("bytes=5-", 206, 5, 600_000),
        ("bytes=-7", 206, 599_993, 600_000),
        ("bytes=599999-900000", 206, 599_999, 600_000),
        ("bytes=-900000", 206, 0, 600_000),
        ("bytes=1-2,4-5", 200, 0, 600_000),
        ("lines=1-2", 200, 0, 600_000),
        ("bytes=-", 200, 0, 600_000),
    ],
)
async def test_ranges(http: httpx.AsyncClient, asked: str, status: int, start: int, end: int) -> None:
    data = bytes(n % 251 for n in range(600_000))
    sent = item(data=data)
    await post(http, sent.raw)
    response = await http.get(f"/raw/{sent.id}", headers={"range": asked})
    assert response.status_code == status
    assert response.content == data[start:end]
    assert response.headers["content-length"] == str(end - start)
    assert response.headers.get("content-range") == (
        f"bytes {start}-{end - 1}/600000" if status == 206 else None
    )


@pytest.mark.parametrize("asked", ["bytes=600000-", "bytes=9-3", "bytes=-0"])
async def test_ranges_that_are_not_there(http: httpx.AsyncClient, asked: str) -> None:
    sent = item(data=bytes(600_000))
    await post(http, sent.raw)
    response = await http.get(f"/raw/{sent.id}", headers={"range": asked})
    assert (response.status_code, response.headers["content-range"]) == (416, "bytes */600000")
    assert "error" in response.json()


async def test_transaction_json_is_enough_to_rebuild_the_item(http: httpx.AsyncClient) -> None:
    sent = item(("A", "é"), ("A", ""), target=UNKNOWN, anchor=b"r" * 32, data=b"\x00\xff")
    await post(http, sent.raw)
    fields = (await http.get(f"/tx/{sent.id}")).json()
    assert (fields["format"], fields["quantity"], fields["reward"], fields["data_size"]) == (2, "0", "0", "2")
    assert fields["signature_type"] == 2
    tags = [Tag(*(b64url_decode(tag[part]).decode() for part in ("name", "value"))) for tag in fields["tags"]]
    names = {
        "signature": "signature",
        "owner": "owner",
        "target": "target",
        "last_tx": "anchor",
        "data": "data",
    }
    parts = {name: b64url_decode(fields[field]) for field, name in names.items()}
    assert rebuild(tags=tags, **parts) == sent


async def test_fields_one_by_one(http: httpx.AsyncClient) -> None:
    sent = item(("A", "b"), data=b"text")
    await post(http, sent.raw)
    assert (await http.get(f"/tx/{sent.id}/data")).text == b64url_encode(b"text")
    assert (await http.get(f"/tx/{sent.id}/owner")).text == sent.owner_key
    assert (await http.get(f"/tx/{sent.id}/target")).text == ""
    assert (await http.get(f"/tx/{sent.id}/tags")).json() == [{"name": "QQ", "value": "Yg"}]
    assert (await http.get(f"/tx/{sent.id}/nothing")).status_code == 404


async def test_long_data_is_not_in_the_transaction_json(http: httpx.AsyncClient) -> None:
    sent = item(data=bytes(limits.DATA_CHUNK_BYTES + 1))
    await post(http, sent.raw)
    fields = (await http.get(f"/tx/{sent.id}")).json()
    assert (fields["data"], fields["data_size"]) == ("", str(limits.DATA_CHUNK_BYTES + 1))


async def test_status_and_the_chain(http: httpx.AsyncClient, store: ArweaveStore) -> None:
    sent = item()
    await post(http, sent.raw)
    await post(http, item().raw)
    status = (await http.get(f"/tx/{sent.id}/status")).json()
    block = (await http.get("/block/height/2")).json()
    assert status == {
        "block_height": 2,
        "block_indep_hash": block["indep_hash"],
        "number_of_confirmations": 2,
    }
    assert block["txs"] == [sent.id]
    assert block["timestamp"] == 1_700_000_000
    info = (await http.get("/info")).json()
    assert (info["height"], info["blocks"], info["network"]) == (3, 3, "aoray.local")
    assert (await http.get("/height")).text == "3"
    current = (await http.get("/block/current")).json()
    assert info["current"] == (await http.get("/tx_anchor")).text == current["indep_hash"]
    assert current == (await http.get(f"/block/hash/{current['indep_hash']}")).json()
    assert current["previous_block"] == block["indep_hash"]


async def test_everything_is_free(http: httpx.AsyncClient) -> None:
    for path in ("/price/100", "/price/0/target", f"/wallet/{ALICE.address}/balance"):
        assert (await http.get(path)).text == "0"


@pytest.mark.parametrize(
    "path",
    [
        "/{}",
        "/raw/{}",
        "/tx/{}",
        "/tx/{}/status",
        "/tx/{}/data",
        "/tx/{}/item",
        "/block/hash/{}",
        "/block/height/77",
        "/block/height/9223372036854775808",
        "/block/height/-9223372036854775809",
    ],
)
@pytest.mark.parametrize("unknown", [UNKNOWN, "B" * 43])
async def test_what_is_not_there_is_404_with_a_body_that_says_so(
    http: httpx.AsyncClient, path: str, unknown: str
) -> None:
    response = await http.get(path.format(unknown))
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


def _bad_uploads() -> dict[str, tuple[bytes, str, int, str]]:
    """Bodies: content, content type, status, code."""
    good = item()
    octets = OCTETS["content-type"]
    return {
        "empty": (b"", octets, 400, "malformed"),
        "text": (b"hello", octets, 400, "malformed"),
        "truncated": (good.raw[:90], octets, 400, "malformed"),
        "forged": (forged(good), octets, 400, "bad_signature"),
        "no bundle": (bundle([], data=b"?").raw, octets, 400, "malformed"),
        "a bundle too large": (bundle([], data=b"\xff" * 32).raw, octets, 413, "too_large"),
        "layer 1": (b'{"format": 2}', "application/json", 400, "malformed"),
        "layer 1 with charset": (b"{}", "application/json; charset=utf-8", 400, "malformed"),
    }


@pytest.mark.parametrize("name", _bad_uploads())
async def test_bad_uploads_are_refused_by_name(
    http: httpx.AsyncClient, store: ArweaveStore, name: str
) -> None:
    content, kind, status, code = _bad_uploads()[name]
    response = await http.post("/tx", content=content, headers={"content-type": kind})
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert store.tip().height == 1


async def test_bodies_are_bounded(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPLOAD_BYTES_MAX", 1000)
    response = await http.post("/tx", content=bytes(1001), headers=OCTETS)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")

    async def chunks() -> Any:
        for _ in range(20):
            yield bytes(100)

    response = await http.post("/tx", content=chunks(), headers=OCTETS)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    monkeypatch.setattr(limits, "UPLOADS_IN_FLIGHT_BYTES_MAX", 10)
    response = await http.post("/tx", content=item().raw, headers=OCTETS)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    monkeypatch.setattr(limits, "UPLOADS_IN_FLIGHT_BYTES_MAX", 1000)
    await post(http, item().raw)


@pytest.mark.parametrize("path", ["/tx", "/graphql"])
async def test_a_body_that_does_not_arrive_in_time_is_refused(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for name in ("UPLOAD_BODY_SECONDS_MAX", "REQUEST_BODY_SECONDS_MAX"):
        monkeypatch.setattr(limits, name, 0.1)
    never = asyncio.Event()

    async def half() -> Any:
        yield b"half"
        await never.wait()

    response = await http.post(path, content=half(), headers=OCTETS)
    assert (response.status_code, response.json()["field"]) == (400, "body")
    monkeypatch.setattr(limits, "UPLOADS_IN_FLIGHT_BYTES_MAX", 1000)  # and its bytes are given back
    await post(http, item(data=b"x" * 700).raw)


async def test_graphql_over_http(http: httpx.AsyncClient) -> None:
    sent = item()
    await post(http, sent.raw)
    query = "query Q($id: ID!) { transaction(id: $id) { id } }"
    wanted = {"data": {"transaction": {"id": sent.id}}}
    body = {"query": query, "variables": {"id": sent.id}, "operationName": "Q"}
    assert (await http.post("/graphql", json=body)).json() == wanted
    parameters = {"query": query, "variables": f'{{"id": "{sent.id}"}}'}
    assert (await http.get("/graphql", params=parameters)).json() == wanted
    assert "graphql" in (await http.get("/graphql")).json()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b'{"query": 5}', b'{"query": "{ block { id } }", "variables": []}', b"\xff"],
)
async def test_malformed_graphql_requests_are_400(http: httpx.AsyncClient, body: bytes) -> None:
    response = await http.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (400, "malformed")


async def test_graphql_faults_are_graphql_errors(http: httpx.AsyncClient) -> None:
    response = await http.post("/graphql", json={"query": "{ nothing }"})
    assert response.status_code == 400
    assert "nothing" in response.json()["errors"][0]["message"]
    huge = await http.post("/graphql", content=bytes(limits.GRAPHQL_REQUEST_BYTES_MAX + 1))
    assert huge.status_code == 413


async def test_only_ids_are_taken_for_ids(http: httpx.AsyncClient) -> None:
    for path in ("/health", "/favicon.ico", "/" + "a" * 42):
        response = await http.get(path)
        assert (response.status_code, response.json()["error"]) == (404, f"no route GET {path}")


async def test_raw_items_parse_again(http: httpx.AsyncClient) -> None:
    sent = item(("A", "b"))
    await post(http, sent.raw)
    assert parse((await http.get(f"/tx/{sent.id}/item")).content) == sent
