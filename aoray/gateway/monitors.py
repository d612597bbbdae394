"""Which processes are monitored: one empty file for each under `data/monitors`, so that gateways share them
and restarts keep them.
"""

from __future__ import annotations

from pathlib import Path

from aoray.errors import ClientError, NotFound


class Monitors:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def add(self, process_id: str) -> None:
        try:
            (self._directory / process_id).touch(exist_ok=False)
        except FileExistsError as error:
            raise ClientError("Process already being monitored", process_id=process_id) from error

    def remove(self, process_id: str) -> None:
        try:
            (self._directory / process_id).unlink()
        except FileNotFoundError as error:
            raise NotFound("Process monitor not found", process_id=process_id) from error

    def all(self) -> list[str]:
        return sorted(path.name for path in self._directory.iterdir())
