"""The guests' calendar is that of C in UTC; Python's own is the oracle."""

from __future__ import annotations

import calendar
import ctypes
import time

from hypothesis import given
from hypothesis import strategies as st

from aoray.vm.wasm.calendar import Calendar, Time, formatted, seconds_of, time_of
from aoray.vm.wasm.imports import HOST_CALLS

CONVERSIONS = "aAbBcCdDeFgGhHIjmMnprRStTuUVwWxXyY%"
SECONDS = st.integers(-62_000_000_000, 253_000_000_000)  # years 5 to 9987


@given(SECONDS)
def test_times_are_those_of_gmtime(seconds: int) -> None:
    ours, theirs = time_of(seconds), time.gmtime(seconds)
    assert (*ours[2::-1], ours.day) == (theirs.tm_hour, theirs.tm_min, theirs.tm_sec, theirs.tm_mday)
    assert (ours.month + 1, ours.year + 1900) == (theirs.tm_mon, theirs.tm_year)
    assert (ours.weekday, ours.yearday) == ((theirs.tm_wday + 1) % 7, theirs.tm_yday - 1)
    assert seconds_of(ours) == seconds == calendar.timegm(theirs)


@given(SECONDS.filter(lambda s: s > -30_000_000_000), st.sampled_from(CONVERSIONS))
def test_texts_are_those_of_strftime(seconds: int, conversion: str) -> None:
    assert formatted(f"<%{conversion}>", time_of(seconds)) == time.strftime(
        f"<%{conversion}>", time.gmtime(seconds)
    )


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_number_is_a_time(seconds: int) -> None:
    assert seconds_of(time_of(seconds)) == seconds
    assert len(time_of(seconds).packed()) == 36


@given(st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 9), st.text(st.characters(max_codepoint=255)))
def test_any_fields_can_be_written_and_normalised(fields: tuple[int, ...], pattern: str) -> None:
    formatted(pattern, Time(*fields))
    for conversion in CONVERSIONS + "sPzZEO+":
        formatted("%" + conversion, Time(*fields))
    seconds_of(Time(*fields))


@given(
    st.integers(0, len(HOST_CALLS) - 1),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 600), min_size=4, max_size=4),
    st.binary(min_size=512, max_size=512),
)
def test_calls_never_touch_what_is_not_memory(operation: int, arguments: list[int], content: bytes) -> None:
    room = ctypes.create_string_buffer(b"g" * 512 + content + b"g" * 512)
    days = Calendar(8)
    days.base, days.size = ctypes.addressof(room) + 512, lambda: 512
    days.call(operation, *arguments)
    assert room.raw[:512] == room.raw[1024:-1] == b"g" * 512


def test_the_offset_of_local_time_is_zero_in_both_widths() -> None:
    for width, offset in ((4, 36), (8, 40)):
        room = ctypes.create_string_buffer(b"x" * 64)
        days = Calendar(width)
        days.base, days.size = ctypes.addressof(room), lambda: 64
        assert days.call(HOST_CALLS.index("_localtime_js"), 86_399, 0, 0, 0) == (0, 1)
        assert room.raw[:12] == (59).to_bytes(4, "little") * 2 + (23).to_bytes(4, "little")
        assert room.raw[offset : offset + width] == bytes(width)
