"""A Lua program with what it requires from beside it, as one source (as the aos shell's `.load` does).

`require("lib.words")` or `require(".lib.words")` names `lib/words.lua` in the folder of the program; what is
not there is left to the process (`json`, `.utils`). Files of the program come before it as modules of their
names, all on its first line, so that lines in errors are those of the files. Only files in that folder and
below are taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

NAME = rb"""require\s*\(?\s*(?:"([^"\\\n]+)"|'([^'\\\n]+)'|\[\[([^\]\n]+)\]\])"""
TOKEN = re.compile(
    rb"--(?:\[(?P<c>=*)\[.*?\](?P=c)\]|[^\n]*)"  # a comment
    rb"|(?<![\w.:])" + NAME + rb"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"  # a call, or a text
    rb"|\[(?P<t>=*)\[.*?\](?P=t)\]",
    re.DOTALL,
)


def bundle(program: Path) -> bytes:
    """Return the source of a program, preceded by the files that it requires, and those that they require."""
    folder = program.resolve().parent
    source = _without_shebang(program.read_bytes())
    modules: dict[bytes, bytes] = {}
    waiting = [source]
    while waiting:
        for name in required(waiting.pop()):
            file = _file_of(name, folder)
            if file is not None and name not in modules:
                content = _without_shebang(file.read_bytes())
                modules[name] = _as_module(name, file.relative_to(folder).as_posix(), content)
                waiting.append(content)
    return b"".join(modules.values()) + source


def required(source: bytes) -> Iterator[bytes]:
    """Yield the names that a program requires as literal texts, outside comments and strings."""
    for token in TOKEN.finditer(source):
        name = token[2] or token[3] or token[4]
        if name:
            yield name


def _file_of(name: bytes, folder: Path) -> Path | None:
    """The file of that name, if it is in the folder or below."""
    parts = [part for part in os.fsdecode(name).replace("/", ".").split(".") if part]
    if not parts or b"\0" in name:
        return None
    place = folder.joinpath(*parts)
    for file in (place.with_name(place.name + ".lua"), place / "init.lua"):
        if file.is_file() and file.resolve().is_relative_to(folder):
            return file.resolve()
    return None


def _as_module(name: bytes, file: str, source: bytes) -> bytes:
    key, text, place = _text(name), _text(source), _text(b"=" + os.fsencode(file))
    return b"package.loaded[%s] = nil package.preload[%s] = assert(load(%s, %s)) " % (key, key, text, place)


def _without_shebang(source: bytes) -> bytes:
    return b"--" + source if source.startswith(b"#") else source


def _text(content: bytes) -> bytes:
    """A Lua literal on one line."""
    return b'"' + re.sub(rb"[^ !#-\[\]-~]", lambda each: b"\\%03d" % each[0][0], content) + b'"'
