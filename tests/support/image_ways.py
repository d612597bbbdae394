"""The ways of keeping memory images that the tests of this room try."""

from __future__ import annotations

from aoray.vm.wasm import memory, pages

WAYS: dict[str, pages.Pages] = {
    "scan": pages.CopyOnWrite(memory.written_by_scan),
    "pagemap": pages.CopyOnWrite(memory.written_by_pagemap),
    "copies": pages.Copies(),
}
