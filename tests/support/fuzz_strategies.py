"""What the fuzzers share: how long each goes on, and strategies for what strangers send.

In `make test` a fuzzer tries the number of examples that it says. In `make fuzz` it is run again, from
another seed, until its equal share of FUZZ_SECONDS is over. What fails is printed smallest first, with a
blob for `@reproduce_failure`. That nothing hangs is held by pytest's time limit, which tests/fuzz/conftest.py
sets.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aoray.errors import AorayError, ClientError
from aoray.protocol.ids import b64url_encode

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
"""Of all fuzzers together; 0: each its number of examples, once."""
STACK_FRAMES = 900
"""Of Python's thousand, some are in use where a request is answered."""
SHARE = {"seconds": 0.0}
"""Of one fuzzer (set by tests/fuzz/conftest.py, which knows how many there are)."""


def fuzz(examples: int, *strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test of so many examples: its last arguments are drawn from the strategies."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        once = settings(
            max_examples=examples,
            deadline=None,
            print_blob=True,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
        )(given(*strategies)(test))

        @functools.wraps(once)
        def repeatedly(*arguments: Any, **fixtures: Any) -> None:
            end = time.monotonic() + SHARE["seconds"]
            once(*arguments, **fixtures)
            while time.monotonic() < end:
                once(*arguments, **fixtures)

        return repeatedly

    return decorate


@contextlib.contextmanager
def stack_of_a_server() -> Iterator[None]:
    """No more stack than there is outside a test. Hypothesis gives its tests more, which hides what nests."""
    frame, depth = sys._getframe(), 0
    while frame.f_back:
        frame, depth = frame.f_back, depth + 1
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + STACK_FRAMES)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def answer_or_error(call: Callable[[], Any], kinds: type[AorayError] = ClientError) -> Any:
    """What it gives, or None if it is the client's fault; anything else is a bug, and is raised."""
    try:
        with stack_of_a_server():
            return call()
    except kinds as error:
        assert error.message and str(error), "an error says what is wrong"
        return None


ids = st.binary(min_size=32, max_size=32).map(b64url_encode)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
"""Any text that can travel as UTF-8."""
_POWERS = (1, 2**31, 2**53, 2**62, 2**63, 2**64, 10**18, 10**30)
_EDGES = [0, *(sign * (power + by) for power in _POWERS for sign in (1, -1) for by in (-1, 0, 1))]
numbers = st.sampled_from(_EDGES)
_ODD = ["", "-0", "+1", "1e3", "1_0", " 1", "٣", "²", "0x1", "NaN", "undefined", "null", "1.5", "9" * 5000]
numerals = st.sampled_from([*map(str, [*range(2, 8), *_EDGES]), *_ODD])
"""What may stand where a number should."""


def deep(levels: int) -> bytes:
    """JSON that is nested so deep."""
    return b"[" * levels + b"]" * levels


levels = st.sampled_from([10, 200, 900, 1000, 1023, 1024, 5000])
scalars = st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=20) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=8,
)
"""Any JSON value, as Python has it; with lone surrogates, infinities and numbers beyond 64 bits."""


def spelled(value: Any) -> bytes:
    """JSON as a careless writer spells it: all escapes, `NaN` and `Infinity` too."""
    return json.dumps(value).encode()


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """Bytes that were good, with some cut out, put in or exchanged."""
    place = st.integers(0, len(good))
    piece = st.binary(max_size=9) | st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\x80" * 10, b"\1", b"\x7f"])
    cut = st.sampled_from([0, 0, 1, 1, 1, 2, 8, 32, len(good)])
    change = st.tuples(place, cut, piece)
    return st.lists(change, min_size=1, max_size=4).map(lambda changes: _changed(good, changes))


def _changed(good: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for at, cut, put in changes:
        good = good[:at] + put + good[at + cut :]
    return good


cursor_fields = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": values | numerals,
        "sort": values | st.sampled_from(["ASC", "DESC"]),
        "ordinate": values,
    },
)
cursor_texts = st.one_of(
    (cursor_fields | values).map(spelled).map(base64.b64encode).map(bytes.decode),
    levels.map(lambda n: base64.b64encode(b'{"timestamp":' + deep(n) + b"}").decode()),
    levels.map(lambda n: base64.b64encode(b'{"timestamp":1,"sort":' + deep(n) + b"}").decode()),
    numerals,
    texts,
    st.text(max_size=20),
)
