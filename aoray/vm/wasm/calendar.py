"""The calendar for guests: what `os.date` and `os.time` need, in UTC and the C locale.

Guests call it through the shim (imports.HOST_CALLS); everything else that a guest imports is WASM.
`Calendar.call` works on the guest's memory by address. For an address outside of the memory it answers "not
ok", and the shim traps. It never raises into WASM; a fault of this machine is stored, and raised by the
guest's owner. It reads no clock: all times are numbers from the guest.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from aoray.vm.wasm.imports import HOST_CALLS

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_TIME = struct.Struct("<9i")
_FORMAT_BYTES_MAX = 4096
_FORMAT_BYTES_A_CALL = 32  # formatting this many bytes takes as long as a call
_DAY_S = 86_400


class Time(NamedTuple):
    """A calendar time with the fields of C's `struct tm`."""

    second: int
    minute: int
    hour: int
    day: int
    month: int  # from 0
    year: int  # from 1900
    weekday: int  # from Sunday
    yearday: int  # from 0
    summer: int = 0

    def packed(self) -> bytes:
        """Return the bytes of the `struct tm`, with each field wrapped to 32 bits."""
        return _TIME.pack(*((value + 2**31) % 2**32 - 2**31 for value in self))


def time_of(seconds: int) -> Time:
    """Return the UTC calendar time of seconds since 1970 (proleptic Gregorian calendar, any year)."""
    days, rest = divmod(seconds, _DAY_S)
    # Years begin in March here, so that the leap day is the last (H. Hinnant's days-to-civil).
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = (shifted + 2) % 12
    year = year_of_era + era * 400 + (month < 2)
    return Time(
        rest % 60, rest // 60 % 60, rest // 3600, day_of_year - (153 * shifted + 2) // 5 + 1,
        month, year - 1900, (days + 4) % 7, days - _days_to(year, 0),
    )  # fmt: skip


def seconds_of(time: Time) -> int:
    """Return the seconds since 1970 of a calendar time in UTC. Fields may be out of range, as `mktime`
    allows."""
    years, month = divmod(time.month, 12)
    days = _days_to(time.year + 1900 + years, month) + time.day - 1
    return days * _DAY_S + time.hour * 3600 + time.minute * 60 + time.second


def _days_to(year: int, month: int) -> int:
    """Return the days from 1970-01-01 to the first of a month (January is 0)."""
    year -= month < 2
    return year * 365 + year // 4 - year // 100 + year // 400 + (153 * ((month + 10) % 12) + 2) // 5 - 719_468


def formatted(pattern: str, time: Time) -> str:
    """Format a time as C's `strftime` does in the C locale; an unknown conversion stays as it is."""
    out, parts = [], iter(pattern)
    for character in parts:
        if character != "%":
            out.append(character)
            continue
        conversion = next(parts, "%")
        if conversion in "EO":  # alternative forms are the same in the C locale
            conversion = next(parts, "%")
        out.append(_conversion(conversion, time))
    return "".join(out)


_SHORTHANDS: Mapping[str, str] = {
    "c": "%a %b %e %H:%M:%S %Y", "D": "%m/%d/%y", "F": "%Y-%m-%d", "h": "%b", "r": "%I:%M:%S %p",
    "R": "%H:%M", "T": "%H:%M:%S", "x": "%m/%d/%y", "X": "%H:%M:%S", "+": "%a %b %e %H:%M:%S %Z %Y",
    "n": "\n", "t": "\t", "Z": "UTC", "z": "+0000", "%": "%",
}  # fmt: skip

_CONVERSIONS: Mapping[str, Callable[[Time], str]] = {
    "a": lambda t: _DAYS[t.weekday % 7][:3],
    "A": lambda t: _DAYS[t.weekday % 7],
    "b": lambda t: _MONTHS[t.month % 12][:3],
    "B": lambda t: _MONTHS[t.month % 12],
    "C": lambda t: f"{(t.year + 1900) // 100:02d}",
    "d": lambda t: f"{t.day:02d}",
    "e": lambda t: f"{t.day:2d}",
    "G": lambda t: str(_iso(t)[0]),
    "g": lambda t: f"{_iso(t)[0] % 100:02d}",
    "H": lambda t: f"{t.hour:02d}",
    "I": lambda t: f"{(t.hour + 11) % 12 + 1:02d}",
    "j": lambda t: f"{t.yearday + 1:03d}",
    "m": lambda t: f"{t.month + 1:02d}",
    "M": lambda t: f"{t.minute:02d}",
    "p": lambda t: "AM" if t.hour < 12 else "PM",
    "P": lambda t: "am" if t.hour < 12 else "pm",
    "s": lambda t: str(seconds_of(t)),
    "S": lambda t: f"{t.second:02d}",
    "u": lambda t: str((t.weekday + 6) % 7 + 1),
    "U": lambda t: f"{(t.yearday + 7 - t.weekday) // 7:02d}",
    "V": lambda t: f"{_iso(t)[1]:02d}",
    "w": lambda t: str(t.weekday),
    "W": lambda t: f"{(t.yearday + 7 - (t.weekday + 6) % 7) // 7:02d}",
    "y": lambda t: f"{(t.year + 1900) % 100:02d}",
    "Y": lambda t: str(t.year + 1900),
}


def _conversion(conversion: str, time: Time) -> str:
    if conversion in _CONVERSIONS:
        return _CONVERSIONS[conversion](time)
    short = _SHORTHANDS.get(conversion)
    if short is None:
        return "%" + conversion
    return formatted(short, time) if "%" in short and conversion != "%" else short


def _iso(time: Time) -> tuple[int, int]:
    """Return the ISO 8601 year and week of a time: those of the Thursday in its week."""
    thursday = time_of(seconds_of(time) + (3 - (time.weekday + 6) % 7) * _DAY_S)
    return thursday.year + 1900, thursday.yearday // 7 + 1


class Calendar:
    """The calendar of one guest: it answers the shim's calls on the guest's memory."""

    def __init__(self, pointer_bytes: int) -> None:
        self._pointer_bytes = pointer_bytes
        self.base = 0
        self._work = 1
        self.size: Callable[[], int] = lambda: 0
        self.fault: Exception | None = None  # of this machine; the message then has no result
        self._calls = tuple(getattr(self, name.lstrip("_")) for name in HOST_CALLS)

    def call(self, operation: int, *arguments: int) -> tuple[int, int]:
        """Answer the operation with this index in HOST_CALLS. Return the answer and its work, counted in
        calls; the work is 0 if an address was outside the memory."""
        self._work = 1
        try:
            return self._calls[operation](*arguments) or 0, self._work
        except (IndexError, OverflowError):
            return 0, 0
        except Exception as error:  # noqa: BLE001 (the guest's owner raises it, since WASM code can't)
            self.fault = error
            return 0, 0

    def strftime(self, to: int, size: int, pattern: int, time: int) -> int:
        """Format a time as C's `strftime`: write at most `size` bytes to address `to`, return their number
        without the NUL."""
        form = self._string(pattern)
        self._work += len(form) // _FORMAT_BYTES_A_CALL
        text = formatted(form, self._time(time)).encode("latin-1") + b"\0"
        if len(text) > size:
            return 0
        self._write(to, text)
        return len(text) - 1

    def gmtime_js(self, seconds: int, to: int, *_: int) -> None:
        """Write the UTC time of `seconds` since 1970 to address `to`, as `gmtime` does."""
        self._write(to, time_of(seconds).packed()[:32])

    def localtime_js(self, seconds: int, to: int, *_: int) -> None:
        """Write the local time (UTC) of `seconds` since 1970 to address `to`, as `localtime` does."""
        offset = 40 if self._pointer_bytes == 8 else 36
        self._write(to, time_of(seconds).packed())
        self._write(to + offset, bytes(self._pointer_bytes))

    def mktime_js(self, at: int, *_: int) -> int:
        """Return the seconds since 1970 of the time at an address, and normalize its fields, as `mktime`
        does."""
        seconds = seconds_of(self._time(at))
        self._write(at, time_of(seconds).packed())
        return seconds

    def tzset_js(self, offset: int, summer: int, name: int, summer_name: int) -> None:
        """Write the time zone (UTC, without summer time) to four addresses, as `tzset` does."""
        self._write(offset, bytes(self._pointer_bytes))
        self._write(summer, bytes(4))
        self._write(name, b"UTC\0")
        self._write(summer_name, b"UTC\0")

    def _at(self, address: int, size: int) -> int:
        address %= 2**64  # addresses arrive as signed numbers
        if address + size > self.size():
            raise IndexError
        return self.base + address

    def _read(self, address: int, size: int) -> bytes:
        return ctypes.string_at(self._at(address, size), size)

    def _write(self, address: int, data: bytes) -> None:
        ctypes.memmove(self._at(address, len(data)), data, len(data))

    def _time(self, address: int) -> Time:
        return Time(*_TIME.unpack(self._read(address, _TIME.size)))

    def _string(self, address: int) -> str:
        """Return the C string at an address, at most _FORMAT_BYTES_MAX of it, with one character for each
        byte."""
        self._at(address, 1)
        size = min(_FORMAT_BYTES_MAX, self.size() - address % 2**64)
        return self._read(address, size).split(b"\0", 1)[0].decode("latin-1")
