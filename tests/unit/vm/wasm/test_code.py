"""Instructions are read as they are, one by one, and what is refused is refused by its name."""

from __future__ import annotations

import pytest

from aoray.errors import UnsupportedModule
from aoray.vm.wasm import code, weight


@pytest.mark.parametrize(
    ("instruction", "length"),
    [
        (b"\x0a", 1),  # throw_ref
        (b"\x08\x81\x01", 3),  # throw, of a tag whose number has two bytes
        (b"\x40\x00", 2),  # memory.grow
        (b"\xfc\x0a\x00\x00", 4),  # memory.copy
        (b"\xfc\x0b\x00", 3),  # memory.fill
        (b"\x0e\x02\x00\x81\x01\x02", 6),  # br_table of two labels, and the default one
        (b"\x1c\x02\x7f\x7e", 4),  # select of two types
        (b"\x1f\x40\x01\x02\x00", 5),  # try_table with one catch_all
    ],
)
def test_an_instruction_has_its_length(instruction: bytes, length: int) -> None:
    reader = code.Reader(instruction + b"\x0b\x0b\x0b\x0b")
    code.step(reader)
    assert reader.position == length


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        (b"\xfc\x0f\x00", "table.grow"),
        (b"\x06\x40\x00", "try"),
        (b"\xd3\x00\x00", "0xd300 of garbage-collected types, which"),
        (b"\xfe\x10\x00", "0xfe10 of threads, which"),
        (b"\xfd\x80\x02", "0xfd80 of relaxed SIMD, which"),
        (b"\xfc\x13\x00", "0xfc13 of wide arithmetic, which"),
        (b"\xff\x13\x00", "0xff13, which"),
        (b"\xff\xfc\x13", "0xfffc, which"),
        (b"\x40\x01\x00", "more than one memory"),
        (b"\xfc\x0a\x00\x01", "more than one memory"),
    ],
)
def test_an_instruction_that_guests_may_not_use_is_refused_by_its_name(
    instruction: bytes, words: str
) -> None:
    with pytest.raises(UnsupportedModule, match=words):
        code.step(code.Reader(instruction + b"\x0b"))


def test_a_constant_ends_behind_its_end() -> None:
    assert code.constant_end(b"\x41\x05\x0b\x41", 0) == 3
    assert code.constant_end(b"\x00\x41\x05\x41\x06\x6a\x0b\x00", 1) == 7


def test_the_instructions_of_a_body_begin_where_they_begin() -> None:
    assert list(code.instructions(b"\x01\x02\x7f\x41\x05\x1a\x0b")) == [3, 5, 6]


def test_values_across_calls_weigh_by_their_square() -> None:
    count, arity = 200, weight.VALUES_MAX + 20
    body = b"\x00" + count * b"\x10\x00" + b"\x0b"
    found = weight.weight_of(body, 0, [weight.Arity(arity, 0)], [0])
    assert found == count**2 // weight.CALLS_A_UNIT + (20 * count) ** 2 // weight.CARRIED_A_UNIT
