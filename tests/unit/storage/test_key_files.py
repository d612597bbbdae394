"""Keys on disk: made once, whole, and for their owner only."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aoray.errors import ClientError
from aoray.runtime.unit_keys import keep_keys
from aoray.settings import Settings
from aoray.storage.key_files import load_or_make


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
def test_a_file_that_is_not_a_key_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ClientError):
        load_or_make(path)
    assert path.read_text() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o601])
def test_a_key_that_others_may_read_is_refused_with_the_way_to_mend_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.json"
    address = load_or_make(path).address
    path.chmod(mode)
    with pytest.raises(ClientError, match=f"{path} is a private key that others may read") as refused:
        load_or_make(path)
    assert refused.value.hint == f"Let only its owner read it: chmod 600 {path}"
    for own in (0o600, 0o400):
        path.chmod(own)
        assert load_or_make(path).address == address


@pytest.mark.parametrize(
    "spoil", [lambda jwk: jwk[:-1], lambda jwk: jwk.replace('"d":"', '"d":"!'), str.upper]
)
def test_what_is_said_of_a_spoiled_key_does_not_give_it_away(
    tmp_path: Path, spoil: Callable[[str], str]
) -> None:
    path = tmp_path / "key.json"
    load_or_make(path)
    secret = json.loads(path.read_text())["d"]
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ClientError) as refused:
        load_or_make(path)
    said = "".join(traceback.format_exception(refused.value)) + repr(refused.value.details)
    assert secret[8:20].lower() not in said.lower()


@pytest.mark.parametrize(("one", "other"), [("scheduler", "authority"), ("compute", "scheduler")])
def test_two_units_with_one_key_are_refused(tmp_path: Path, one: str, other: str) -> None:
    """What the messenger signs for guests must not be by the key that orders messages or attests results."""
    settings = Settings(data=tmp_path)
    keep_keys(settings)
    keys = tmp_path / "keys"
    (keys / f"{one}.json").write_bytes((keys / f"{other}.json").read_bytes())
    with pytest.raises(ClientError, match="are the same key"):
        keep_keys(settings)
