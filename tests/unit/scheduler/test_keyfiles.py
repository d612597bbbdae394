"""Keys on disk: made once, whole, and for their owner only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aoray.errors import ClientError
from aoray.keyfiles import load_or_make


def test_a_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "scheduler.json"
    made = load_or_make(path)
    assert path.stat().st_mode & 0o777 == 0o600
    again = load_or_make(path)
    assert again.address == made.address and again.sign(b"x") == made.sign(b"x")
    assert [each.name for each in path.parent.iterdir()] == ["scheduler.json"]


def test_all_who_ask_at_once_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        signers = list(pool.map(load_or_make, [tmp_path / "key.json"] * 32))
    assert len({signer.address for signer in signers}) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 5000 + "]" * 5000, '{"kty":"OKP"}'])
def test_a_file_that_is_no_key_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    with pytest.raises(ClientError):
        load_or_make(path)
    assert path.read_text() == content
