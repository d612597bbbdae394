"""The factory of stores: opens log, results and files as the settings say. Only this module knows which
backends exist.

A backend is a module in this folder and a line in `STORES` or `FILES`, with the import path of the function
that makes it from the settings; so a computer without PostgreSQL does not import PostgreSQL's modules. On
failure: errors of the backend; `ClientError` for a URL whose scheme no backend has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from importlib import import_module
from typing import Any

from aoray.errors import ClientError, Unavailable
from aoray.settings import Settings
from aoray.storage.backend import Store
from aoray.storage.files import Files
from aoray.storage.key_files import KEY_NAMES, units_of
from aoray.storage.log import Log
from aoray.storage.log_reader import ShardedReader
from aoray.storage.results import Results, ResultsBackend

STORES: dict[str, str] = {
    "": "aoray.storage.sqlite_store:open_store",
    "postgresql": "aoray.storage.postgres_store:open_store",
    "postgres": "aoray.storage.postgres_store:open_store",
}
"""The import path of each store's factory, by the scheme of `--store` ('' if it is not set)."""
FILES: dict[str, str] = {
    "": "aoray.storage.files:open_files",
    "*": "aoray.storage.shared_files:open_files",
}
"""The import path of each factory of files, by the scheme of `--files`; `*` stands for all others."""
OWNER = "owner"


def store_of(settings: Settings) -> Store:
    """Return the store that the settings select."""
    store: Store = _made(STORES, settings.store, "--store")(settings)
    return store


def open_log(settings: Settings, index: int) -> Log:
    """Open the log of a shard for its writer."""
    return store_of(settings).open_log(index)


def open_readers(settings: Settings) -> ShardedReader:
    """Open a reader over the logs of all shards."""
    store = store_of(settings)
    return ShardedReader([store.open_reader(index) for index in range(settings.shards)])


def open_results(settings: Settings) -> Results:
    """Open the results of all processes."""
    return store_of(settings).open_results()


def open_index(settings: Settings) -> ResultsBackend:
    """Open a connection to the database of the results, for the index of checkpoints."""
    return store_of(settings).open_index()


def open_files(settings: Settings, folder: str) -> Files:
    """Return the files in one of the computer's folders (`modules`, `checkpoints`, …)."""
    files: Files = _made(FILES, settings.files, "--files")(settings, folder)
    return files


def check_reached(settings: Settings) -> None:
    """Raise `ClientError` or `Unavailable` if the store or the place for files can't be used. This creates
    nothing."""
    store = store_of(settings)
    store.check()
    keys = (settings.keys_directory / f"{name}.json" for name in KEY_NAMES)
    is_new = not units_of(settings.data) and not any(path.exists() for path in keys)
    if is_new and (owner := store.owner()):
        raise ClientError(
            f"the store belongs to the computer with scheduler {owner}, and {settings.data} has no keys yet",
            hint="Use that computer's --data and --keys, or another store (in PostgreSQL: …?schema=NAME).",
        )
    if not settings.files:
        return
    files = open_files(settings, OWNER)
    with _files_at_hand(settings):
        files.check()
        owner = files.read(OWNER).decode() if is_new and files.exists(OWNER) else ""
    if owner:
        raise _others(settings, owner, "a new one")


def check_versions(settings: Settings) -> None:
    """Raise `ClientError` if a later version of aoray made one of the logs. This changes nothing."""
    store = store_of(settings)
    for index in range(settings.shards):
        store.check_version(index)


def upgrade_logs(settings: Settings) -> None:
    """Upgrade the tables of logs that an earlier version of aoray made, since readers see nothing in those.
    The store must be claimed (`claim_store`)."""
    store = store_of(settings)
    for index in range(settings.shards):
        if store.has_log(index):
            with closing(store.open_log(index)) as log:
                log.upgrade()


def claim_store(settings: Settings, computer: str) -> AbstractContextManager[None]:
    """Hold the store for this computer (its scheduler's address) while the context lasts."""
    return store_of(settings).claim(computer, settings.shards)


def claim_files(settings: Settings, computer: str) -> None:
    """Record the owner of the files (its scheduler's address), so that no other computer sweeps its
    checkpoints.

    Raises `ClientError` if the files belong to another computer, and `Unavailable` if they can't be written
    and read.
    """
    if not settings.files:
        return
    files = open_files(settings, OWNER)
    with _files_at_hand(settings):
        if not files.exists(OWNER):
            files.write(OWNER, computer.encode())
        owner = files.read(OWNER).decode()
    if owner != computer:
        raise _others(settings, owner, computer)


def _made(backends: Mapping[str, str], url: str, option: str) -> Any:
    """Return the function that makes a backend, by the scheme of the URL."""
    path = backends.get(url.partition("://")[0], backends.get("*", ""))
    if not path:
        known = ", ".join(f"{each}://" for each in backends if each)
        raise ClientError(f"no store is known for {option} {url[:20]!r}", hint=f"Known are {known}.")
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _others(settings: Settings, owner: str, computer: str) -> ClientError:
    return ClientError(
        f"the files at {settings.files.partition('?')[0]} belong to the computer with scheduler {owner}, not"
        f" {computer}",
        hint="Give this computer another folder with --files.",
    )


@contextmanager
def _files_at_hand(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"--files {settings.files.partition('?')[0]} can't be written and read: {error}",
            hint="Check that the bucket exists and that these credentials may use it.",
        ) from error
