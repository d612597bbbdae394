"""One spelling for each value."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aoray.errors import MalformedInput
from aoray.protocol.ids import b64url_decode, b64url_encode, id_bytes, is_id

ID = "aL1Sy7oWU2TBsuNViNdIAQ1G3OJSUgi88Cw_81oIHv4"


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_bytes_come_back(value: bytes) -> None:
    assert b64url_decode(b64url_encode(value)) == value


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_but_the_spelling_itself_decodes(text: str) -> None:
    try:
        value = b64url_decode(text, field="anchor")
    except MalformedInput as error:
        assert error.field == "anchor"
    else:
        assert b64url_encode(value) == text


@pytest.mark.parametrize("text", ["YQ==", "YQ=", "Y", "YR", "+w", "Y Q", "YQ\n", "é", "\x00", "/w"])
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(MalformedInput):
        b64url_decode(text)


def test_an_id_is_43_characters_of_32_bytes() -> None:
    assert is_id(ID) and len(id_bytes(ID)) == 32
    for wrong in ("", ID[:-1], ID + "A", ID + "\n", ID[:-1] + "5", ID[:-1] + "=", "!" + ID[1:]):
        assert not is_id(wrong)
        with pytest.raises(MalformedInput) as caught:
            id_bytes(wrong, field="target")
        assert caught.value.field == "target"
