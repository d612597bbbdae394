"""Bad input gets a 4xx with JSON that names the fault, never a 500 and never a hang, and the computer works
on.

Each case is a request as bytes or parameters; `says` is looked for in the JSON body, so the answer must
name what is wrong.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from forged_keys import Nobody

from aoray.client import Client
from aoray.limits import REQUEST_BYTES_MAX, TAG_NAME_BYTES_MAX, TAG_VALUE_BYTES_MAX, TAGS_MAX
from aoray.modules.lua import lua_module_id
from aoray.protocol.ans104.deep_hash import deep_hash
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.signatures.base import SOLANA
from aoray.protocol.signatures.ed25519 import Ed25519Signer, generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

pytestmark = pytest.mark.cluster

SIGNER = generate_ed25519()
STRANGER = generate_ed25519()
NOBODY = generate_ed25519().address
"""A well-formed id that is not a process, message or module."""
MESSAGE = (Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1"), Tag("Type", "Message"))
OWNER_AT, TARGET_AT, COUNT_AT, SIZE_AT, TAGS_AT = 66, 98, 132, 140, 148
"""Where the parts of an Ed25519 item with a target and no anchor begin."""
HOPELESS_LENGTH = 2**63 - 1


@dataclass(frozen=True)
class Case:
    """A request that must be refused. `PROCESS` in the path stands for a process that exists."""

    name: str
    path: str = "/"
    body: bytes | Callable[[str], bytes] = b""
    method: str = "POST"
    status: int | tuple[int, ...] = 400
    says: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self, process: str) -> bytes:
        return self.body if isinstance(self.body, bytes) else self.body(process)


def message_to(target: str, tags: Sequence[Tag] = MESSAGE, data: bytes = b"hello") -> DataItem:
    return build(SIGNER, target=target, tags=tags, data=data)


def of_nobody(target: str) -> DataItem:
    return build(Nobody(signature_type=SOLANA), target=target, tags=MESSAGE)


def changed(at: int, new: bytes) -> Callable[[str], bytes]:
    """A good message with some bytes overwritten after it was signed."""

    def change(process: str) -> bytes:
        raw = message_to(process).raw
        return raw[:at] + new + raw[at + len(new) :]

    return change


def cut(size: int) -> Callable[[str], bytes]:
    return lambda process: message_to(process).raw[:size]


def tagged(tag_bytes: bytes, count: int) -> Callable[[str], bytes]:
    """A well signed message whose tags are just these bytes."""
    return lambda process: signed_raw(SIGNER, process, tag_bytes, count)


def signed_raw(signer: Ed25519Signer, process: str, tag_bytes: bytes, count: int) -> bytes:
    target = message_to(process).target
    parts = [b"dataitem", b"1", b"2", signer.public_key, target, b"", tag_bytes, b"hello"]
    head = struct.pack("<H", 2) + signer.sign(deep_hash(parts)) + signer.public_key
    return head + b"\1" + target + b"\0" + struct.pack("<QQ", count, len(tag_bytes)) + tag_bytes + b"hello"


def avro(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    pairs = list(pairs)
    texts = b"".join(zigzag(len(text)) + text for pair in pairs for text in pair)
    return zigzag(len(pairs)) + texts + b"\0"


def zigzag(number: int) -> bytes:
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def with_tags(*tags: tuple[str, str]) -> Callable[[str], bytes]:
    return lambda process: message_to(process, [Tag(*tag) for tag in tags]).raw


def spawn_with(*tags: tuple[str, str]) -> bytes:
    always = [("Data-Protocol", "ao"), ("Variant", "ao.TN.1"), ("Type", "Process")]
    return build(SIGNER, tags=[Tag(*tag) for tag in (*always, *tags)], data=b" ").raw


def json_case(name: str, path: str, body: bytes, says: str = "", status: int | tuple[int, ...] = 400) -> Case:
    return Case(name, path, body, says=says, status=status, headers={"content-type": "application/json"})


LONG = (b"n" * (TAG_NAME_BYTES_MAX + 1), b"v")
WIDE = (b"n", b"v" * (TAG_VALUE_BYTES_MAX + 1))
MANY = [(b"n%d" % number, b"v") for number in range(TAGS_MAX + 1)]

ITEMS = [
    Case("nothing"),
    Case("one byte", body=b"\2", says="signature_type"),
    Case("text", body=b"this is not a data item, however long one makes it" * 20),
    Case("json", body=b'{"Target": "x"}'),
    Case("zeroes", body=bytes(1000), says="signature"),
    Case("unknown signature type", body=changed(0, b"\x63\0"), says="signature"),
    Case("cut in the signature", body=cut(40), says="signature"),
    Case("cut in the owner", body=cut(80), says="owner"),
    Case("cut in the target", body=cut(110), says="target"),
    Case("cut in the tag count", body=cut(135), says="tags"),
    Case("cut in the tags", body=cut(170), says="tags"),
    Case("data cut short", body=lambda p: message_to(p).raw[:-1], says="signature"),
    Case("data made longer", body=lambda p: message_to(p).raw + b"!", says="signature"),
    Case("wrong signature", body=changed(10, b"\xaa\x55\xaa\x55"), says="signature"),
    Case("signature of zeroes", body=changed(2, bytes(64)), says="signature"),
    Case(
        "owner of small order", body=lambda p: build(Nobody(), target=p, tags=MESSAGE).raw, says="small order"
    ),
    Case("the same by the name of Solana", body=lambda p: of_nobody(p).raw, says="small order"),
    Case("the same to Arweave", path="/tx", body=lambda p: of_nobody(p).raw, says="small order"),
    Case("wrong owner", body=changed(OWNER_AT, STRANGER.public_key), says="signature"),
    Case("owner that is no key", body=changed(OWNER_AT, b"\xff" * 32), says="signature"),
    Case("target changed", body=changed(TARGET_AT + 1, b"\x01" * 32), says="signature"),
    Case("tag changed", body=lambda p: message_to(p).raw.replace(b"Message", b"Process"), says="signature"),
    Case("target flag of 2", body=changed(TARGET_AT, b"\2"), says="target"),
    Case("anchor flag of 7", body=changed(TARGET_AT + 33, b"\7"), says="anchor"),
    Case("tag count that lies", body=changed(COUNT_AT, struct.pack("<Q", 4)), says="tags"),
    Case("hopeless tag count", body=changed(COUNT_AT, struct.pack("<Q", HOPELESS_LENGTH)), says="tags"),
    Case("hopeless tag length", body=changed(SIZE_AT, struct.pack("<Q", HOPELESS_LENGTH)), says="tags"),
    Case("short tag length", body=changed(SIZE_AT, struct.pack("<Q", 3)), says="tags"),
    Case("tag length of all", body=changed(SIZE_AT, struct.pack("<Q", 2**64 - 1)), says="tags"),
    Case("negative avro length", body=changed(TAGS_AT + 1, zigzag(-5)), says="tags"),
    Case("hopeless avro length", body=tagged(zigzag(1) + zigzag(2**40) + b"x\0", 1), says="tags"),
    Case("endless avro number", body=tagged(b"\xff" * 40, 1), says="tags"),
    Case("avro without an end", body=tagged(avro([(b"a", b"b")])[:-1], 1), says="tags"),
    Case("tags that are not text", body=tagged(avro([(b"\xff\xfe", b"b")]), 1), says="tags"),
    Case("too many tags", body=tagged(avro(MANY), len(MANY)), says="tags", status=413),
    Case("tag name too long", body=tagged(avro([LONG]), 1), says="tags", status=413),
    Case("tag value too long", body=tagged(avro([WIDE]), 1), says="tags", status=413),
    Case("50 MB", body=bytes(50 * 1024 * 1024), status=413, says="body"),
    Case("no target", body=build(SIGNER, tags=MESSAGE, data=b"x").raw, says="target"),
    Case("unknown process", body=message_to(NOBODY).raw, status=404, says=NOBODY),
    Case("no protocol", body=with_tags(("Type", "Message")), says="Data-Protocol"),
    Case("no type", body=with_tags(("Data-Protocol", "ao")), says="Type"),
    Case("unknown type", body=with_tags(("Data-Protocol", "ao"), ("Type", "Miracle")), says="Type"),
    Case("spawn without a module", body=spawn_with(("Scheduler", NOBODY)), says="Module"),
    Case("spawn of no module", body=spawn_with(("Module", "tiny"), ("Scheduler", NOBODY)), says="Module"),
    Case("spawn of unknown module", body=spawn_with(("Module", NOBODY), ("Scheduler", NOBODY)), says=NOBODY),
    Case(
        "spawn that looks for the built-in module",
        body=spawn_with(("Module", NOBODY), ("Scheduler", NOBODY)),
        says=f"The built-in module is {lua_module_id()}",
    ),
]

ROUTES = [
    Case("assign without a message", "/?process-id=PROCESS", says="assign"),
    Case("assign without a process", f"/?assign={NOBODY}", says="process-id"),
    Case("assign of no id", "/?process-id=PROCESS&assign=tiny", says="assign"),
    Case("assign to no id", f"/?process-id=tiny&assign={NOBODY}", says="process-id"),
    Case("assign of an unknown message", f"/?process-id=PROCESS&assign={NOBODY}", status=404),
    Case("assign to an unknown process", f"/?process-id={NOBODY}&assign=PROCESS", status=404, says=NOBODY),
    Case("unknown route", "/no/such/route", method="GET", status=404, says="route"),
    Case("unknown route to post", "/no/such/route", status=404, says="route"),
    Case("strange bytes in the path", "/result/%ff%00%fe?process-id=PROCESS", method="GET"),
    Case("wrong method", "/", method="DELETE", status=405),
    Case("wrong method on dry-run", "/dry-run", method="PUT", status=405),
    Case("wrong method on result", f"/result/{NOBODY}", status=405),
    Case("result without a process", f"/result/{NOBODY}", method="GET", says="process-id"),
    Case("result of no id", "/result/tiny?process-id=PROCESS", method="GET"),
    Case("result in no process", f"/result/{NOBODY}?process-id=tiny", method="GET", says="process-id"),
    Case("result of an unknown process", f"/result/{NOBODY}?process-id={NOBODY}", method="GET", status=404),
    Case("result of an unknown message", f"/result/{NOBODY}?process-id=PROCESS", method="GET", status=404),
    Case("results of no id", "/results/tiny", method="GET", status=404, says="tiny"),
    Case("results of an unknown process", f"/results/{NOBODY}", method="GET", status=404),
    Case("results before a bad cursor", "/results/PROCESS?from=@@@", method="GET", says="from"),
    Case("results from a cursor of nonsense", "/results/PROCESS?from=eyJ9", method="GET", says="from"),
    Case("results, a negative limit", "/results/PROCESS?limit=-1", method="GET", says="limit"),
    Case("results, a limit of letters", "/results/PROCESS?limit=many", method="GET", says="limit"),
    Case("results sorted sideways", "/results/PROCESS?sort=SIDEWAYS", method="GET", says="sort"),
    Case("state of an unknown process", f"/state/{NOBODY}", method="GET", status=404),
    Case("log page, a negative limit", "/PROCESS?process-id=PROCESS&limit=-5", method="GET", says="limit"),
    Case("log page from letters", "/PROCESS?process-id=PROCESS&from=abc", method="GET", says="from"),
    Case("log of an unknown process", f"/{NOBODY}?process-id={NOBODY}", method="GET", status=(400, 404)),
    Case("an unknown process", f"/processes/{NOBODY}", method="GET", status=(400, 404)),
    Case("monitor without an item", "/monitor/PROCESS", body=b"not an item"),
    json_case("dry-run of no JSON", "/dry-run?process-id=PROCESS", b"{nope"),
    json_case("dry-run of a list", "/dry-run?process-id=PROCESS", b"[1, 2]"),
    json_case("dry-run with strange tags", "/dry-run?process-id=PROCESS", b'{"Tags": 5}', says="ags"),
    json_case("dry-run without a process", "/dry-run", b"{}", says="process-id"),
    json_case("dry-run in an unknown process", f"/dry-run?process-id={NOBODY}", b'{"Tags": []}', status=404),
    json_case("graphql of no JSON", "/graphql", b"{nope"),
    json_case("graphql of a list", "/graphql", b"[]"),
    json_case("graphql without a query", "/graphql", b"{}", says="query"),
    json_case("graphql of a number", "/graphql", b'{"query": 5}', says="query"),
    Case("upload of no item", "/tx", body=b"not an item"),
    Case("upload of a forged item", "/tx", body=changed(10, b"\xaa\x55\xaa\x55"), says="signature"),
    Case("raw data of an unknown id", f"/raw/{NOBODY}", method="GET", status=404),
]


@pytest.fixture(scope="module")
def process(computer: LocalComputer) -> str:
    """A process that exists."""
    health = computer.health
    item = spawn_with(("Module", health["module"]), ("Scheduler", health["scheduler"]))
    reply = httpx.post(computer.url, content=item, timeout=60)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


@pytest.fixture(scope="module")
def http(computer: LocalComputer) -> Iterable[httpx.Client]:
    with httpx.Client(base_url=computer.url, timeout=60) as opened:
        yield opened


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in ITEMS + ROUTES])
def test_it_is_refused_with_the_fault_named(http: httpx.Client, process: str, case: Case) -> None:
    path = case.path.replace("PROCESS", process)
    reply = http.request(case.method, path, content=case.content(process), headers=dict(case.headers))
    expected = case.status if isinstance(case.status, tuple) else (case.status,)
    assert reply.status_code in expected, reply.text
    check_body(reply.json(), reply.text, case.says)


def check_body(body: Any, text: str, says: str) -> None:
    assert isinstance(body["error"], str)
    assert body["error"]
    assert isinstance(body["code"], str)
    assert says in text


def test_graphql_syntax_errors_are_answered_as_graphql_does(http: httpx.Client) -> None:
    reply = http.post("/graphql", json={"query": "{ transactions( "})
    assert reply.status_code in (200, 400)
    assert "Syntax Error" in reply.json()["errors"][0]["message"]


@pytest.mark.parametrize("announced", [REQUEST_BYTES_MAX + 1, 2**62])
def test_an_announced_length_over_the_bound_is_refused_before_it_is_sent(
    computer: LocalComputer, announced: int
) -> None:
    assert exchange(computer.port, b"content-length: %d\r\n" % announced).startswith(b"HTTP/1.1 413")


def test_a_body_shorter_than_announced_does_not_hang_the_computer(computer: LocalComputer) -> None:
    with socket.create_connection(("127.0.0.1", computer.port), timeout=30) as line:
        line.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
        line.shutdown(socket.SHUT_WR)
        answer = line.recv(65536)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("length", [b"-1", b"twelve", b"1e3"])
def test_a_length_that_is_not_a_number_is_refused(computer: LocalComputer, length: bytes) -> None:
    assert exchange(computer.port, b"content-length: " + length + b"\r\n").startswith(b"HTTP/1.1 400")


def exchange(port: int, headers: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(b"POST / HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n")
        return line.recv(65536)


async def test_after_all_that_the_computer_works(client: Client) -> None:
    process = await client.spawn()
    message = await client.send(process, action="Eval", data="1 + 1")
    assert (await client.result(process, message))["Output"]["data"] == "2"
    assert (await client.health())["version"]
