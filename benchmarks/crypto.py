"""What signing, verifying, parsing and hashing cost in this process alone, without Ray and without HTTP: data
items of each signature type with a few tags and 64 bytes of data, on one thread and on as many as there are
cores, since verification runs beside the event loop. Read the cost of a message at the door from here."""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aoray.protocol.ans104.deep_hash import deep_hash
from aoray.protocol.ans104.items import build, parse, verify
from aoray.protocol.signatures.arweave import generate_rsa
from aoray.protocol.signatures.base import Signer
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.signatures.ethereum import EthereumSigner
from aoray.protocol.signatures.solana import SolanaSigner
from aoray.protocol.tags import Tag
from benchmarks.report import Report

NAME = "crypto"
DESCRIPTION = "data items signed, verified, parsed and hashed in one process"
TAGS = (
    Tag("Data-Protocol", "ao"),
    Tag("Variant", "ao.TN.1"),
    Tag("Type", "Message"),
    Tag("Action", "Ping"),
    Tag("SDK", "aoray"),
)
DATA = b"x" * 64
ROUND = 50  # operations between two looks at the clock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row [1]")
    cores = ",".join(map(str, sorted({1, os.cpu_count() or 1})))
    parser.add_argument("--threads", default=cores, help=f"with commas [{cores}]")


def run(arguments: argparse.Namespace) -> Report:
    """A row for each operation and number of threads."""
    rows = [
        _row(name, operation, threads, arguments.seconds)
        for name, operation in operations(arguments.seed)
        for threads in map(int, arguments.threads.split(","))
    ]
    return Report(NAME, DESCRIPTION, vars(arguments), rows)


def operations(seed: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured. Keys are of the seed, but RSA's, whose making can't be seeded."""
    secret = hashlib.sha256(str(seed).encode()).digest()
    signers: dict[str, Signer] = {
        "ed25519": generate_ed25519(),
        "rsa4096": generate_rsa(),
        "ethereum": EthereumSigner(secret),
        "solana": SolanaSigner(secret),
    }
    for name, signer in signers.items():
        item = build(signer, target="A" * 43, tags=TAGS, data=DATA)
        yield f"sign {name}", partial(build, signer, target="A" * 43, tags=TAGS, data=DATA)
        yield f"verify {name}", partial(verify, item)
        yield f"parse and verify {name}", partial(_at_the_door, item.raw)
    yield "parse", partial(parse, build(signers["ed25519"], tags=TAGS, data=DATA).raw)
    yield "deep hash of 10 blobs", partial(deep_hash, [DATA] * 10)


def _at_the_door(raw: bytes) -> None:
    verify(parse(raw))


def _row(name: str, operation: Callable[[], object], threads: int, seconds: float) -> dict[str, object]:
    operation()

    def work(deadline: float) -> int:
        done = 0
        while not done or time.perf_counter() < deadline:
            for _ in range(ROUND if "rsa" not in name else 1):
                operation()
                done += 1
        return done

    with ThreadPoolExecutor(threads) as pool:
        began, cpu = time.perf_counter(), time.process_time()
        done = sum(pool.map(work, [began + seconds] * threads))
        wall, used = time.perf_counter() - began, time.process_time() - cpu
    return {
        "operation": name,
        "threads": str(threads),
        "per_s": round(done / wall, 1),
        "cpu_us_each": round(used / done * 1e6, 1),
    }
