"""`.bint` agrees with Python's integers, at any width."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

WIDTHS = [33, 64, 96, 256, 1024]
Binary = Callable[[int, int], int]


def wrapped(value: int, bits: int) -> int:
    """Two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def unsigned(value: int, bits: int) -> int:
    return value & ((1 << bits) - 1)


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def numbers(bits: int, seed: int, count: int) -> list[int]:
    """Edges, and numbers of all lengths."""
    source = random.Random(seed)
    top = 1 << (bits - 1)
    edges = [0, 1, -1, 2, -2, top - 1, -top, 0xFFFFFFFF, 1 << 32, -(1 << 32), 10**9]
    drawn = [source.getrandbits(source.randint(1, bits - 1)) * source.choice((1, -1)) for _ in range(count)]
    return [wrapped(value, bits) for value in edges + drawn]


def in_lua(
    calculator: Callable[[str], str], bits: int, expression: str, pairs: list[tuple[int, int]]
) -> list[int]:
    """`expression` of a and b, for each pair."""
    listed = ",".join(f'{{"{a}","{b}"}}' for a, b in pairs)
    source = (
        f'local b_ = require(".bint")({bits}) local out = {{}} for i, p in ipairs({{{listed}}}) do '
        f"local a, b = b_(p[1]), b_(p[2]) out[i] = tostring({expression}) end return table.concat(out, ' ')"
    )
    return [int(word) for word in calculator(source).split()]


ANY: dict[str, Binary] = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a * b": lambda a, b: a * b,
    "-a": lambda a, b: -a,
    "a & b": lambda a, b: a & b,
    "a | b": lambda a, b: a | b,
    "a ~ b": lambda a, b: a ^ b,
    "~a": lambda a, b: ~a,
    "b_.max(a, b)": max,
    "b_.min(a, b)": min,
    "b_.abs(a)": lambda a, b: abs(a),
    "a < b and 1 or 0": lambda a, b: a < b,
    "a <= b and 1 or 0": lambda a, b: a <= b,
    "a == b and 1 or 0": lambda a, b: a == b,
    "b_.fromle(b_.tole(a))": lambda a, b: a,
    "b_.frombe(b_.tobe(a))": lambda a, b: a,
    "b_.frombase(b_.tobase(a, 36), 36)": lambda a, b: a,
    "b_.new(b_.tobase(a, 10))": lambda a, b: a,
    "a:_add(b)": lambda a, b: a + b,
}
DIVISIONS: dict[str, Binary] = {
    "a // b": lambda a, b: a // b,
    "a % b": lambda a, b: a % b,
    "b_.tdiv(a, b)": truncated,
    "b_.tmod(a, b)": lambda a, b: a - b * truncated(a, b),
}


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("expression", ANY)
def test_arithmetic_wraps_as_it_should(calculator: Callable[[str], str], expression: str, bits: int) -> None:
    pairs = list(zip(numbers(bits, 1, 60), reversed(numbers(bits, 2, 60)), strict=True))
    wanted = [wrapped(int(ANY[expression](a, b)), bits) for a, b in pairs]
    assert in_lua(calculator, bits, expression, pairs) == wanted


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("expression", DIVISIONS)
def test_division_rounds_as_it_should(calculator: Callable[[str], str], expression: str, bits: int) -> None:
    pairs = list(zip(numbers(bits, 3, 200), numbers(bits, 4, 200)[::-1], strict=True))
    least = -(1 << (bits - 1))
    pairs = [(a, b) for a, b in pairs if b and (a, b) != (least, -1)]
    wanted = [wrapped(DIVISIONS[expression](a, b), bits) for a, b in pairs]
    assert in_lua(calculator, bits, expression, pairs) == wanted


@pytest.mark.parametrize("bits", WIDTHS)
def test_functions_without_signs(calculator: Callable[[str], str], bits: int) -> None:
    pairs = [(a, b) for a, b in zip(numbers(bits, 5, 80), numbers(bits, 6, 80)[::-1], strict=True) if b]
    cases: dict[str, Binary] = {
        "b_.udiv(a, b)": lambda a, b: a // b,
        "b_.umod(a, b)": lambda a, b: a % b,
        "b_.ult(a, b) and 1 or 0": lambda a, b: a < b,
        "b_.ule(a, b) and 1 or 0": lambda a, b: a <= b,
    }
    for expression, function in cases.items():
        wanted = [wrapped(int(function(unsigned(a, bits), unsigned(b, bits))), bits) for a, b in pairs]
        assert in_lua(calculator, bits, expression, pairs) == wanted, expression


@pytest.mark.parametrize("bits", WIDTHS)
def test_shifts_bring_in_zeros(calculator: Callable[[str], str], bits: int) -> None:
    shifts = [0, 1, 31, 32, 33, bits - 1, bits, bits + 5]
    for by in shifts:
        pairs = [(a, by) for a in numbers(bits, 7, 20)]
        left = [wrapped(a << by, bits) for a, _ in pairs]
        right = [wrapped(unsigned(a, bits) >> by, bits) for a, _ in pairs]
        assert in_lua(calculator, bits, "a << b", pairs) == left
        assert in_lua(calculator, bits, "a >> -b", pairs) == left
        assert in_lua(calculator, bits, "a >> b", pairs) == right


@pytest.mark.parametrize("bits", [64, 256])
def test_powers(calculator: Callable[[str], str], bits: int) -> None:
    pairs = [(a, b) for a in numbers(bits, 8, 10) for b in (0, 1, 2, 3, 77, 255)]
    assert in_lua(calculator, bits, "b_.ipow(a, b)", pairs) == [wrapped(a**b, bits) for a, b in pairs]
    modulus = (1 << (bits - 2)) - 5
    wanted = [pow(unsigned(a, bits), b, modulus) for a, b in pairs]
    assert in_lua(calculator, bits, f'b_.upowmod(a, b, "{modulus}")', pairs) == wanted


def test_tonumber_is_the_nearest_float(calculator: Callable[[str], str]) -> None:
    values = [value for value in numbers(256, 9, 200) if abs(value) >= 1 << 63]
    listed = ",".join(f'"{value}"' for value in values)
    source = (
        'local b = require(".bint")(256) local out = {} '
        f"for i, s in ipairs({{{listed}}}) do out[i] = ('%a'):format(b.tonumber(b(s))) end "
        "return table.concat(out, ' ')"
    )
    assert [float.fromhex(word) for word in calculator(source).split()] == [float(value) for value in values]


@pytest.mark.parametrize(
    ("expression", "wanted"),
    {
        'b("0xff")': "255",
        'b("-5")': "-5",
        "b(10) / b(4)": "2.5",
        "b(2) ^ 100": "1.2676506002282e+30",
        "b(7) + 1.5": "8.5",
        'b(2) * "3"': "6",
        "b(5) == 5": "false",
        'b.eq(5, "5")': "true",
        "b(3) < 4": "true",
        "b.__lt(0, b(1))": "true",
        "b(10000 * 10^12)": "10000000000000000",
        "b.tobase(b(255), 16)": "ff",
        "b.tobase(-1, 10, true)": str(2**256 - 1),
        "b.bwrap(-1, 8)": "255",
        "b.brol(b.mininteger(), 1)": "1",
        'b.frombase("zz", 36)': "1295",
        'tostring(b.tobint("1.5"))': "nil",
        'b.parse("1.5")': "1.5",
        "b.type(b(1)) .. b.type(1) .. b.type(1.5)": "bintintegerfloat",
        'require(".bint")(256) == require(".bint")()': "true",
    }.items(),
)
def test_what_programs_use(calculator: Callable[[str], str], expression: str, wanted: str) -> None:
    assert calculator(f'local b = require(".bint")(256) return tostring({expression})') == wanted


@pytest.mark.parametrize("bad", ['"abc"', "1.5", '""', '"1.5"', '"1e3"', "nil", "{}", "true"])
def test_what_is_not_a_number_is_refused(calculator: Callable[[str], str], bad: str) -> None:
    shown = calculator(f'return select(2, pcall(require(".bint")(256), {bad})) and 0 or 0')
    assert shown == "0"
    assert calculator(f'return tostring((pcall(require(".bint")(256), {bad})))') == "false"
