"""A storage backend is one line in the factory: what is made of the settings, and who is
refused before anything is made."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from backends import BACKENDS
from ordering import SCHEDULER, message, spawn
from postgres_server import PostgresServer

from aoray.errors import ClientError, Unavailable
from aoray.runtime import preflight
from aoray.scheduler.committer import Committer
from aoray.scheduler.placement import Placement
from aoray.settings import Settings
from aoray.storage import factory
from aoray.storage.key_files import load_or_make
from aoray.testing.local_computer import free_ports


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A computer on a backend that aoray does not have: it is one line of the factory."""
    monkeypatch.setitem(factory.STORES, "toy", "toy_store:open_store")
    (tmp_path / "elsewhere").mkdir()
    return Settings(data=tmp_path / "data", store=f"toy://{tmp_path / 'elsewhere'}", port=free_ports())


def made_in(settings: Settings) -> bool:
    """Whether anything was made in the data directory."""
    return settings.data.exists()


def test_a_backend_that_is_one_line_stores_logs_and_results(toy: Settings) -> None:
    preflight.check(toy)
    assert not made_in(toy)
    with factory.claim_store(toy, "alice"), closing(factory.open_results(toy)) as results:
        writer = Committer(lambda: factory.open_log(toy, 0), Placement(2), SCHEDULER, lambda _: {})
        process = spawn()
        sent = message(process.process_id)
        writer.commit([process, sent], now_ms=1000, block_height=7)
        entries = factory.open_readers(toy).entries(process.process_id, -1, 10)
        assert [entry.message_id for entry in entries] == [process.message_id, sent.message_id]
        results.commit({process.process_id: 1}, [])
        assert factory.store_of(toy).has_log(0) and factory.store_of(toy).has_results()
    assert not made_in(toy)
    with pytest.raises(ClientError, match="alice"), factory.claim_store(toy, "bob"):
        pass


def test_who_has_no_keys_yet_is_refused_by_a_store_that_has_an_owner(toy: Settings) -> None:
    with factory.claim_store(toy, "alice"):
        pass
    with pytest.raises(ClientError, match="alice"):
        preflight.check(toy)
    assert not made_in(toy)
    load_or_make(toy.keys_directory / "scheduler.json")  # whose it is then said by the claim
    preflight.check(toy)


def test_the_same_of_postgresql(tmp_path: Path, postgres: PostgresServer) -> None:
    settings = Settings(data=tmp_path / "data", store=postgres.new_url(), port=free_ports())
    preflight.check(settings)
    with factory.claim_store(settings, "alice"):
        pass
    with pytest.raises(ClientError, match="alice"):
        preflight.check(settings)
    assert not made_in(settings)


def test_the_same_of_files(tmp_path: Path, bucket: str) -> None:
    for uri in (bucket, (tmp_path / "files").as_uri()):
        settings = Settings(data=tmp_path / "data", files=uri, port=free_ports())
        preflight.check(settings)
        assert not (tmp_path / "files").exists()
        factory.claim_files(settings, "alice")
        with pytest.raises(ClientError, match="alice"):
            preflight.check(settings)
        assert not made_in(settings)


def test_a_bucket_that_is_not_there_is_said_before_anything_is_made(tmp_path: Path, bucket: str) -> None:
    missing = bucket.replace("s3://", "s3://not-")
    settings = Settings(data=tmp_path / "data", files=missing, port=free_ports())
    with pytest.raises(Unavailable, match="can't be written and read"):
        preflight.check(settings)
    assert not made_in(settings)


@pytest.mark.parametrize("store", ["mysql://host/database", "x", "toy:///nowhere"])
def test_a_url_that_no_backend_is_for_is_refused(tmp_path: Path, store: str) -> None:
    with pytest.raises(ClientError, match="no store is known for"):
        factory.store_of(Settings(data=tmp_path, store=store))


def test_every_backend_is_tested() -> None:
    """Each is a parameter of the fixture `stored`."""
    makers = {path.partition(":")[0].rpartition(".")[2] for path in factory.STORES.values()}
    assert makers == {f"{name}_store" for name in BACKENDS}
