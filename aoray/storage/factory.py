"""Where log, results and files are, by the settings: the one place that knows which backends there are.

A backend is files in this folder and a line in `STORES` or `FILES`: its function that makes one of the
settings, by its import path, so that a laptop's actors do without PostgreSQL's modules. On failure: as those;
`ClientError` for a URL that no backend is for.
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
"""By the scheme of `--store`, which is empty without one."""
FILES: dict[str, str] = {
    "": "aoray.storage.files:open_files",
    "*": "aoray.storage.shared_files:open_files",
}
"""By the scheme of `--files`; `*` is for all others."""
OWNER = "owner"


def store_of(settings: Settings) -> Store:
    """Return the store of a computer."""
    store: Store = _made(STORES, settings.store, "--store")(settings)
    return store


def open_log(settings: Settings, index: int) -> Log:
    """Open the log of a shard, for the writer that takes it over."""
    return store_of(settings).open_log(index)


def open_readers(settings: Settings) -> ShardedReader:
    """Open a reader over the logs of all shards."""
    store = store_of(settings)
    return ShardedReader([store.open_reader(index) for index in range(settings.shards)])


def open_results(settings: Settings) -> Results:
    """Open the results of all processes."""
    return store_of(settings).open_results()


def open_index(settings: Settings) -> ResultsBackend:
    """Open a connection to where the results are, for the index of checkpoints."""
    return store_of(settings).open_index()


def open_files(settings: Settings, folder: str) -> Files:
    """Return the files of a computer in one of its folders: modules, checkpoints."""
    files: Files = _made(FILES, settings.files, "--files")(settings, folder)
    return files


def check_reached(settings: Settings) -> None:
    """Refuse a store, or a place for files, that can't be used. Raises `ClientError` or `Unavailable`.
    Nothing is made there."""
    store = store_of(settings)
    store.check()
    keys = (settings.keys_directory / f"{name}.json" for name in KEY_NAMES)
    is_new = not units_of(settings.data) and not any(path.exists() for path in keys)
    if is_new and (owner := store.owner()):
        raise ClientError(
            f"the store is the computer's whose scheduler is {owner}, and {settings.data} has no keys yet",
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
    """Refuse logs that a later aoray made; nothing in them is changed."""
    store = store_of(settings)
    for index in range(settings.shards):
        store.check_version(index)


def upgrade_logs(settings: Settings) -> None:
    """Bring logs of an earlier aoray to this one's tables, before anybody reads them: a reader finds nothing
    in an older one. The store has to be this computer's by now (`claim_store`)."""
    store = store_of(settings)
    for index in range(settings.shards):
        if store.has_log(index):
            with closing(store.open_log(index)) as log:
                log.upgrade()


def claim_store(settings: Settings, computer: str) -> AbstractContextManager[None]:
    """Hold the store for this computer (its scheduler's address), as a data directory is held."""
    return store_of(settings).claim(computer, settings.shards)


def claim_files(settings: Settings, computer: str) -> None:
    """Write down whose the files are (its scheduler's address): nobody else may sweep among its checkpoints.

    `ClientError` if they are another computer's, `Unavailable` if they can't be written and read: so it is
    said when the computer starts.
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
    """What makes a backend, by the scheme of its URL."""
    path = backends.get(url.partition("://")[0], backends.get("*", ""))
    if not path:
        known = ", ".join(f"{each}://" for each in backends if each)
        raise ClientError(f"{option} {url[:20]!r} is for no store that there is", hint=f"Known are {known}.")
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _others(settings: Settings, owner: str, computer: str) -> ClientError:
    return ClientError(
        f"the files at {settings.files.partition('?')[0]} are the computer's whose scheduler is {owner}, not"
        f" {computer}",
        hint="Give this one another folder with --files.",
    )


@contextmanager
def _files_at_hand(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"--files {settings.files.partition('?')[0]} can't be written and read: {error}",
            hint="Is the bucket there, and may these credentials use it?",
        ) from error
