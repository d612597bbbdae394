"""Loads modules: from WASM bytes to something that can be instantiated in well under a millisecond.

`WasmEngine` is WASM's `Vm`. Its `load` compiles in a child process that can be killed (compiler.py), and
keeps the outcome in its directory, by the hash of the bytes and of everything that shapes the machine code.
Files appear by an atomic rename, one compiler at a time for a module and for an owner of modules (lock
files), and COMPILERS_MAX for all modules of the directory; they are believed only if their checksum is right.
A `WasmModule` also keeps the image of its memory after boot, which all instances of this process share
(instance.py).

On failure: `UnsupportedModule` is what the module's bytes alone decide; time, memory, disk and whatever else
this machine lacks is `Unavailable` or `OSError`, and tried again by whoever needs the module.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import IO, NamedTuple

import wasmtime

from aoray.errors import TooLarge, Unavailable, UnsupportedModule
from aoray.limits import COMPILER_THREADS_MAX, COMPILERS_MAX, MODULE_COMPILE_SECONDS_MAX
from aoray.vm import engines
from aoray.vm.engines import Engine as Rules
from aoray.vm.interface import Limits, Program, State, Vm
from aoray.vm.wasm import code, compiler, cxx, first_code, imports, pages, rewriter, shape, shim, weight
from aoray.vm.wasm.instance import WasmInstance

NEWEST = engines.ENGINES[engines.NEWEST]
COMPILER_WAIT_SECONDS = 0.05


class Boot(NamedTuple):
    """The state of a module after boot, with which a new process begins. Its `id` is that of all who come
    to equal states from here by equal messages: same module, limits, and version of the engine."""

    image: pages.Image
    state: State
    id: str


class WasmModule(Program):
    """A compiled module, ready to be instantiated."""

    def __init__(
        self,
        engine: wasmtime.Engine,
        images: pages.Pages,
        sha256: str,
        artifact: compiler.Artifact,
        rules: Rules = NEWEST,
    ) -> None:
        self.engine, self.images, self.sha256, self.facts = engine, images, sha256, artifact.facts
        self.rules = rules
        self.shim, self.guest, self.glue = (
            wasmtime.Module.deserialize(engine, part) for part in artifact[1:]
        )
        numbers = [wasmtime.ValType.i32(), *[wasmtime.ValType.i64()] * 4]
        # One for each engine: wasmtime ties a type to the engine that it is first used with.
        self.host_type = wasmtime.FuncType(numbers, [wasmtime.ValType.i64(), wasmtime.ValType.i32()])
        self.boots: dict[Limits, Boot] = {}  # filled by WasmInstance.prepare
        self._code_bytes = sum(map(len, artifact[1:]))

    def boot(self, limits: Limits) -> WasmInstance:
        """Boot a new process of the module."""
        return WasmInstance.boot(self, limits)

    def is_prepared(self, limits: Limits) -> bool:
        """Return whether the module's own boot has run under these limits."""
        return limits in self.boots

    def prepare(self, limits: Limits) -> None:
        """Run its own boot, which may take as long as a message."""
        WasmInstance.prepare(self, limits)

    def held(self) -> int:
        """Return the bytes of memory that the module takes: its code, and the images of its memory after
        boot."""
        return self._code_bytes + sum(boot.image.held() for boot in list(self.boots.values()))

    def booted(self, limits: Limits, image: pages.Image, state: State) -> Boot:
        """Return the boot that `image` and `state` are of."""
        parts = (self.sha256, *limits, self.rules.version, version("wasmtime"), state.hash)
        return Boot(image, state, hashlib.sha256(repr(parts).encode()).hexdigest())


class WasmEngine(Vm):
    """The engine that compiles modules and keeps them. Several threads may use it."""

    content_type = "application/wasm"

    def __init__(self, directory: Path, images: pages.Pages | None = None) -> None:
        """With the directory of compiled modules."""
        _allow_many_files()
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True)
        self._images = images or pages.best()
        self._engines = {rules.version: compiler.configured(rules) for rules in engines.ENGINES.values()}
        self._modules: weakref.WeakValueDictionary[tuple[str, int], WasmModule] = (
            weakref.WeakValueDictionary()
        )
        self._lock = threading.Lock()

    def load(self, wasm: bytes, rules: Rules = NEWEST, owner: str = "") -> WasmModule:
        """Return the module of these bytes under a version of the engine, compiled now or found. Raises
        `UnsupportedModule`. Of the modules of one owner one is compiled at a time."""
        if len(wasm) > rules.module_bytes_max:
            raise TooLarge(f"The module has {len(wasm)} bytes; {rules.module_bytes_max} are allowed.")
        sha256 = hashlib.sha256(wasm).hexdigest()
        key = sha256, rules.version
        with self._lock:
            module = self._modules.get(key)
        if module is None:
            module = self._found_or_compiled(wasm, sha256, rules, owner)
            with self._lock:
                module = self._modules.setdefault(key, module)
        return module

    @staticmethod
    def check(module: bytes, *, thoroughly: bool = False) -> None:
        """Refuse what no engine here runs: by its imports, exports and sections, or by all of its code."""
        if thoroughly:
            shape.refuse_before_publishing(module)
        else:
            shape.refuse_at_once(module)

    @staticmethod
    def from_file(content: bytes, name: str) -> bytes:
        """WASM as it is; WAT text is assembled."""
        if content.startswith(b"\0asm"):
            return content
        if not name.endswith(".wat"):
            raise UnsupportedModule(f"{name} is neither WASM (it does not begin with \\0asm) nor a .wat text")
        try:
            return bytes(wasmtime.wat2wasm(content))
        except (wasmtime.WasmtimeError, UnicodeDecodeError) as error:
            raise UnsupportedModule(f"{name} is no WAT text: {error}") from error

    def _found_or_compiled(self, wasm: bytes, sha256: str, rules: Rules, owner: str) -> WasmModule:
        path = self._directory / f"{sha256[:32]}-{_configuration(rules)}.aoray"
        found = self._found(path, sha256, rules)
        if found:
            return found
        one_of_owner = _only_one(self._directory / _owner_lock(owner)) if owner else nullcontext()
        with one_of_owner, _only_one(path.with_suffix(".lock")):
            found = self._found(path, sha256, rules)  # by another process, while this one waited
            if found:
                return found
            with _one_of_few(self._directory):
                _compile(wasm, path, rules)
            found = self._found(path, sha256, rules)
        if not found:
            raise Unavailable("a compiled module can't be read back", path=str(path))
        return found

    def _found(self, path: Path, sha256: str, rules: Rules) -> WasmModule | None:
        try:
            artifact = compiler.unpacked(path.read_bytes())
            engine = self._engines[rules.version]
            return artifact and WasmModule(engine, self._images, sha256, artifact, rules)
        except (FileNotFoundError, wasmtime.WasmtimeError):  # not there, or for another machine: compile it
            return None


def _allow_many_files() -> None:
    """Every process holds an open memfd; the soft limit of 1024 is for programs that use `select`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_PREPARING = (rewriter, code, cxx, first_code, weight, shape, imports, shim, compiler, engines)


def _configuration(rules: Rules) -> str:
    """A hash of all else that shapes an artifact: versions, machine, and the code that prepares modules."""
    sources = (Path(str(module.__file__)).read_bytes() for module in _PREPARING)
    text = f"{version('wasmtime')} {platform.machine()} {compiler.VERSION} {rules.version}".encode()
    return hashlib.sha256(text + b"".join(sources)).hexdigest()[:16]


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """One process at a time; the lock file stays."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _owner_lock(owner: str) -> str:
    """The lock file of an owner, which a few others may share."""
    return f"owner-{hashlib.sha256(owner.encode()).hexdigest()[:3]}.lock"


@contextmanager
def _one_of_few(directory: Path) -> Iterator[None]:
    """One of COMPILERS_MAX, over all processes that share the directory: each takes all that the machine has.

    Whose turn it is looks for a free place, the others wait behind; the kernel frees the place of who dies.
    """
    with ExitStack() as files:
        places = [
            files.enter_context((directory / f"compiler-{n}.lock").open("w")) for n in range(COMPILERS_MAX)
        ]
        with _only_one(directory / "compilers.lock"):
            while not any(map(_is_mine, places)):
                time.sleep(COMPILER_WAIT_SECONDS)
        yield


def _is_mine(place: IO[str]) -> bool:
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _compile(wasm: bytes, path: Path, rules: Rules) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        source, target = Path(directory, "wasm"), Path(directory, "artifact")
        source.write_bytes(wasm)
        _run_compiler(source, target, rules)
        target.replace(path)


def _run_compiler(source: Path, target: Path, rules: Rules) -> None:
    package = str(Path(__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((package, os.environ.get("PYTHONPATH", "")))}
    environment["RAYON_NUM_THREADS"] = str(COMPILER_THREADS_MAX)
    command = [sys.executable, "-m", "aoray.vm.wasm.compiler", str(source), str(target), str(rules.version)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=environment,
            timeout=MODULE_COMPILE_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:  # another machine is faster, or this one less busy later
        raise Unavailable(f"the module takes over {MODULE_COMPILE_SECONDS_MAX} s to compile here") from error
    if done.returncode == compiler.REFUSED:
        raise UnsupportedModule(done.stdout)
    if done.returncode:  # no memory or disk, as a rule: of this machine, not of the module
        how = f"status {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
        said = done.stderr.strip().splitlines()[-1:]
        raise Unavailable(f"the compiler ended with {how}{''.join(f': {line[:200]}' for line in said)}")
