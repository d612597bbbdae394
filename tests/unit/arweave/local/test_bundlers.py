"""What clients of bundlers do: uploads in parts, `/v1`, prices; and the bounds of what is not whole."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from arweave_items import forged, item
from clock import Clock

from aoray import limits
from aoray.arweave.local.pieces import Pieces
from aoray.errors import NotFound, Overloaded, RateLimited, TooLarge

OCTETS = {"content-type": "application/octet-stream"}


@pytest.fixture
def pieces(tmp_path: Path, clock: Clock) -> Iterator[Pieces]:
    opened = Pieces(tmp_path / "pieces.sqlite", clock)
    yield opened
    opened.close()


async def begun(http: httpx.AsyncClient, prefix: str = "") -> str:
    answer = (await http.get(f"{prefix}/chunks/arweave/-1/-1?chunkSize=5000000")).json()
    assert answer["chunkSize"] == 5_000_000
    assert answer["min"] <= 5_000_000 <= 25_000_000 <= answer["max"]
    return f"{prefix}/chunks/arweave/{answer['id']}"


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_an_item_is_uploaded_in_parts_in_any_order_as_irys_does(
    http: httpx.AsyncClient, prefix: str
) -> None:
    sent = item(data=bytes(1000))
    upload = await begun(http, prefix)
    for start in (400, 0, 800, 0):
        part = sent.raw[start : start + 400]
        assert (await http.post(f"{upload}/{start}", content=part, headers=OCTETS)).status_code == 200
    known = (await http.get(f"{upload}/-1")).json()
    assert known["chunks"] == [[0, 400], [400, 400], [800, len(sent.raw) - 800]]
    receipt = (await http.post(f"{upload}/-1")).json()
    assert receipt["id"] == sent.id
    assert (await http.get(f"/{sent.id}")).content == sent.data
    assert (await http.post(f"{upload}/-1")).json() == receipt


async def test_turbo_finalizes_and_asks_for_the_status(http: httpx.AsyncClient) -> None:
    sent = item()
    upload = await begun(http, "/v1")
    assert (await http.get(f"{upload}/status")).json()["status"] == "ASSEMBLING"
    await http.post(f"{upload}/0", content=sent.raw, headers=OCTETS)
    assert (await http.post(f"{upload}/finalize")).status_code == 202
    found = (await http.get(f"{upload}/status")).json()
    assert (found["status"], found["receipt"]["id"]) == ("FINALIZED", sent.id)


async def test_parts_that_make_no_item_are_refused_in_words(http: httpx.AsyncClient) -> None:
    sent = item(data=bytes(1000))
    upload = await begun(http)
    for bad in ("-5", "x", str(10**12), str(10**30)):
        answer = await http.post(f"{upload}/{bad}", content=b"x", headers=OCTETS)
        assert answer.status_code == 400, answer.text
    assert (await http.post(f"{upload}/0", content=b"", headers=OCTETS)).status_code == 400
    assert (await http.post("/chunks/arweave/nothing/0", content=b"x")).status_code == 404
    assert (await http.post("/chunks/arweave/nothing/-1")).status_code == 404
    await http.post(f"{upload}/500", content=forged(sent)[500:], headers=OCTETS)
    answer = await http.post(f"{upload}/-1")
    assert (answer.status_code, answer.json()["at"]) == (400, 0)
    await http.post(f"{upload}/0", content=sent.raw[:500], headers=OCTETS)
    answer = await http.post(f"{upload}/-1")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_signature")
    assert (await http.get(f"/{sent.id}")).status_code == 404


async def test_prices_and_balances_are_those_of_a_free_bundler(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/price/bytes/1000")).json()["winc"] == "0"
    for path in ("/price/1000", f"/price/1000/{'A' * 43}", "/price/arweave/1000"):
        assert (await http.get(path)).text == "0"
    for bad in ("/price/x", "/price/arweave/x", "/price/-1"):
        assert (await http.get(bad)).status_code == 400
    found = (await http.get("/account/balance/arweave", params={"address": "A" * 43})).json()
    assert found["winc"] == found["balance"] == "0"


async def test_v1_takes_whole_items_too(http: httpx.AsyncClient) -> None:
    for path in ("/v1/tx", "/v1/tx/arweave"):
        sent = item()
        answer = await http.post(path, content=sent.raw, headers=OCTETS)
        assert answer.json()["id"] == sent.id


def test_pieces_are_bounded_for_a_sender_and_for_all(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PIECES_SENDER_BYTES_MAX", 10)
    monkeypatch.setattr(limits, "PIECES_BYTES_MAX", 15)
    pieces.begin("a", "one")
    pieces.begin("b", "two")
    pieces.add("a", "one", 0, b"12345678")
    assert pieces.add("a", "one", 0, b"12345678") == 8
    with pytest.raises(RateLimited):
        pieces.add("a", "one", 8, b"123")
    with pytest.raises(Overloaded):
        pieces.add("b", "two", 0, b"12345678")
    assert (pieces.refused_total, pieces.held) == (2, 8)
    pieces.drop("a")
    assert pieces.add("b", "two", 0, b"12345678") == pieces.bytes() == 8


def test_each_piece_counts_for_who_sent_it_whoever_began_the_upload(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has used up what he may hold begins another's upload: that one is not held up by it."""
    monkeypatch.setattr(limits, "PIECES_SENDER_BYTES_MAX", 10)
    pieces.add("his", "full", 0, b"123456789", opens=True)
    pieces.add("other", "full", 0, b"1", opens=True)
    with pytest.raises(RateLimited):
        pieces.add("other", "full", 1, b"2")
    assert pieces.add("other", "honest", 1, b"23456789") == 9
    with pytest.raises(RateLimited):
        pieces.add("his", "honest", 9, b"123")
    pieces.finish("other", "{}")
    assert pieces.add("his", "honest", 9, b"123456789") == 18, "what is finished counts no more"
    pieces.drop("his")
    assert pieces.add("next", "full", 0, b"1234567890", opens=True) == 10


def test_uploads_are_bounded_in_number_and_in_pieces(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PIECES_SENDER_UPLOADS_MAX", 2)
    monkeypatch.setattr(limits, "PIECES_UPLOADS_MAX", 3)
    monkeypatch.setattr(limits, "PIECES_OF_UPLOAD_MAX", 2)
    for key, sender in (("a", "one"), ("b", "one"), ("c", "two")):
        pieces.begin(key, sender)
    with pytest.raises(RateLimited):
        pieces.begin("d", "one")
    with pytest.raises(Overloaded):
        pieces.begin("d", "two")
    pieces.add("a", "one", 0, b"x")
    pieces.add("a", "one", 1, b"x")
    with pytest.raises(TooLarge):
        pieces.add("a", "one", 2, b"x")
    pieces.finish("a", "{}")  # what is finished counts no more
    pieces.begin("d", "one")
    assert pieces.answer("a") == "{}"


def test_an_upload_that_drips_or_rests_is_dropped(pieces: Pieces, clock: Clock) -> None:
    pieces.begin("rests", "one")
    pieces.begin("drips", "one")
    for number in range(limits.PIECES_SECONDS_MAX // limits.PIECES_IDLE_SECONDS_MAX + 1):
        pieces.add("drips", "one", number, b"x")
        clock.now += limits.PIECES_IDLE_SECONDS_MAX - 1
        if number == 1:
            with pytest.raises(NotFound):
                pieces.spans("rests")
    with pytest.raises(NotFound):
        pieces.add("drips", "one", 99, b"x")
    assert pieces.bytes() == 0


async def test_an_upload_is_made_whole_once_however_often_it_is_finished_at_the_same_time(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would hold all of it in memory."""
    sent, upload = item(), await begun(http)
    await http.post(f"{upload}/0", content=sent.raw, headers=OCTETS)
    joining, goes_on, joined = threading.Event(), threading.Event(), Pieces.joined

    def held(self: Pieces, key: str) -> bytes:
        joining.set()
        assert goes_on.wait(20)
        return joined(self, key)

    monkeypatch.setattr(Pieces, "joined", held)
    first = asyncio.create_task(http.post(f"{upload}/-1"))
    assert await asyncio.to_thread(joining.wait, 20)
    for path in ("-1", "finalize"):
        answer = await http.post(f"{upload}/{path}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    goes_on.set()
    assert (await first).json()["id"] == sent.id
    assert (await http.post(f"{upload}/-1")).json() == (await first).json()
