"""Loads WASM modules: from bytes to a `WasmModule`, of which instances are made in well under a millisecond.

`WasmEngine` is the `Vm` for WASM. Its `load` compiles in a child process that can be killed (compiler.py),
and stores the artifact in its directory, by the hash of the bytes and of everything that affects the machine
code. A file appears by an atomic rename, and is used only if its checksum is right. With lock files, one
compiler runs at a time for a module and for an owner of modules, and COMPILERS_MAX for the directory. A
`WasmModule` also keeps the image of its memory after boot, which all instances in this OS process share
(instance.py).

On failure: `UnsupportedModule` for what the module's bytes alone decide. Time, memory, disk and everything
else that this machine lacks is `Unavailable` or `OSError`, and whoever needs the module tries again.
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
    """The state of a module after boot, from which a new process starts. Instances with the same `id`
    (module, limits, and version of the engine) reach equal states by equal messages."""

    image: pages.Image
    state: State
    id: str


class WasmModule(Program):
    """A compiled module, of which instances can be made."""

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
        # Each engine needs its own, since wasmtime ties a type to the engine that first uses it.
        self.host_type = wasmtime.FuncType(numbers, [wasmtime.ValType.i64(), wasmtime.ValType.i32()])
        self.boots: dict[Limits, Boot] = {}  # filled by WasmInstance.prepare
        self._code_bytes = sum(map(len, artifact[1:]))

    def boot(self, limits: Limits) -> WasmInstance:
        """Make a new process of the module."""
        return WasmInstance.boot(self, limits)

    def is_prepared(self, limits: Limits) -> bool:
        """Return whether the module has been booted under these limits."""
        return limits in self.boots

    def prepare(self, limits: Limits) -> None:
        """Boot the module under these limits, which may take as long as a message."""
        WasmInstance.prepare(self, limits)

    def held(self) -> int:
        """Return the bytes of memory that the module takes: its code, and its memory images after boot."""
        return self._code_bytes + sum(boot.image.held() for boot in list(self.boots.values()))

    def booted(self, limits: Limits, image: pages.Image, state: State) -> Boot:
        """Return the `Boot` with this image and state under these limits."""
        parts = (self.sha256, *limits, self.rules.version, version("wasmtime"), state.hash)
        return Boot(image, state, hashlib.sha256(repr(parts).encode()).hexdigest())


class WasmEngine(Vm):
    """The engine that compiles modules and stores them. Several threads may use it."""

    content_type = "application/wasm"

    def __init__(self, directory: Path, images: pages.Pages | None = None) -> None:
        """Use this directory for compiled modules, and make it if it does not exist."""
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
        """Return the module with these bytes under a version of the engine, stored or compiled now. At a time
        one module of each owner is compiled. Raises `UnsupportedModule`, or `TooLarge`."""
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
        """Raise `UnsupportedModule` if no engine here runs the module: by its imports, exports and sections,
        and if `thoroughly` by all of its code."""
        if thoroughly:
            shape.refuse_before_publishing(module)
        else:
            shape.refuse_at_once(module)

    @staticmethod
    def from_file(content: bytes, name: str) -> bytes:
        """Return WASM as it is, and assemble WAT text."""
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
        except (FileNotFoundError, wasmtime.WasmtimeError):  # missing, or made for another machine
            return None


def _allow_many_files() -> None:
    """Raise the limit of open files, since every AO process takes an open memfd. The soft limit of 1024 is
    for programs that use `select`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_PREPARING = (rewriter, code, cxx, first_code, weight, shape, imports, shim, compiler, engines)


def _configuration(rules: Rules) -> str:
    """Return a hash of everything else that affects an artifact: versions, machine, and the code that
    prepares modules."""
    sources = (Path(str(module.__file__)).read_bytes() for module in _PREPARING)
    text = f"{version('wasmtime')} {platform.machine()} {compiler.VERSION} {rules.version}".encode()
    return hashlib.sha256(text + b"".join(sources)).hexdigest()[:16]


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold a lock file, which one OS process at a time can do. The file stays."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _owner_lock(owner: str) -> str:
    """Return the name of the lock file of an owner. Owners may share one."""
    return f"owner-{hashlib.sha256(owner.encode()).hexdigest()[:3]}.lock"


@contextmanager
def _one_of_few(directory: Path) -> Iterator[None]:
    """Hold one of COMPILERS_MAX places among all OS processes that share the directory, since each compiler
    uses all cores.

    One process looks for a free place while the others wait for their turn to look. The kernel frees the
    places of a process that dies.
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
    except subprocess.TimeoutExpired as error:  # a faster or less busy machine may manage it
        raise Unavailable(f"the module takes over {MODULE_COMPILE_SECONDS_MAX} s to compile here") from error
    if done.returncode == compiler.REFUSED:
        raise UnsupportedModule(done.stdout)
    if done.returncode:  # usually this machine lacks memory or disk; the module is not at fault
        how = f"status {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
        said = done.stderr.strip().splitlines()[-1:]
        raise Unavailable(f"the compiler ended with {how}{''.join(f': {line[:200]}' for line in said)}")
