"""A storage backend as a stranger would add one: `toy://FOLDER` is SQLite in another folder that has an
owner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aoray.errors import ClientError
from aoray.settings import Settings
from aoray.storage.sqlite_store import SqliteStore


class ToyStore(SqliteStore):
    """All nodes of one machine reach it."""

    is_shared = True

    def __init__(self, folder: Path, shards: int) -> None:
        super().__init__(folder, shards)
        self._owner = folder / "owner"

    def check(self) -> None:
        """Refuse a folder that is not there."""
        if not self._owner.parent.is_dir():
            raise ClientError(f"there is no folder {self._owner.parent}")

    def owner(self) -> str:
        """Who wrote its name down."""
        return self._owner.read_text() if self._owner.exists() else ""

    @contextmanager
    def claim(self, computer: str, shards: int) -> Iterator[None]:  # type: ignore[override]
        """Write down whose it is."""
        self._owner.write_text(self.owner() or computer)
        if self.owner() != computer:
            raise ClientError(f"it is of {self.owner()}")
        yield


def open_store(settings: Settings) -> ToyStore:
    """The store that the settings name."""
    return ToyStore(Path(settings.store.removeprefix("toy://")), settings.shards)
