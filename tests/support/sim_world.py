"""Time, threads, processes and network of a simulated computer: one event loop, one seed, nothing else.

Production code runs here as it is, on an asyncio loop whose clock jumps to the next timer, whose "threads"
are callbacks after a random delay (in order for each executor), and whose random numbers come from the seed.
Each OS process is a `Host`: its tasks are those made in its context, and to kill it is to cancel them all.
`World.call` is the network: it delays, drops requests, drops answers, and delivers twice.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray.exceptions

from aoray.errors import AorayError, StaleTerm, Unavailable

EXECUTOR_STEP_S = 1e-7  # keeps the order of one executor's work


class Crash(BaseException):
    """The process that does this ends here; or the whole machine does (a power cut)."""

    def __init__(self, *, machine: bool = False) -> None:
        super().__init__("crash")
        self.machine = machine


@dataclass(eq=False)
class Host:
    """An OS process: what runs in it, what it has open."""

    name: str
    alive: bool = True
    actor: Any = None
    tasks: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    open: list[Any] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


HOST: contextvars.ContextVar[Host | None] = contextvars.ContextVar("host", default=None)


class SimulatedLoop(asyncio.BaseEventLoop):
    """An event loop without a world: nothing to wait for but its own timers."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.on_crash: Callable[[Host, Crash], None] = lambda host, crash: None
        self._now = 0.0
        self._last: dict[int, float] = {}
        self._selector = self

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and no timer is set")
        self._now += timeout
        return []

    def _process_events(self, events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is nobody to wake."""

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task = super().create_task(coro, name=name, context=context)
        host = HOST.get() if context is None else context.get(HOST)
        if host is not None:
            host.tasks[task] = None
            task.add_done_callback(lambda done: host.tasks.pop(done, None))
            if not host.alive:
                task.cancel()
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """A thread: the work is done at some later time, at once, and in order for each executor."""
        future = self.create_future()
        at = self._now + self.rng.expovariate(1000)
        if executor is not None:
            at = self._last[id(executor)] = max(at, self._last.get(id(executor), 0) + EXECUTOR_STEP_S)
        self.call_at(at, self._work, HOST.get(), future, func, args)
        return future

    def _work(self, host: Host | None, future: Any, func: Callable[..., Any], args: Any) -> None:
        if host is not None and not host.alive:
            return
        try:
            result = func(*args)
        except Crash as crash:
            assert host is not None
            self.on_crash(host, crash)
        except Exception as error:  # noqa: BLE001 - as a real executor: to whoever waits
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(result)


class SimThread:
    """In place of ThreadPoolExecutor(1) and SerialExecutor."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Threads are the loop's."""

    def submit(self, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self, func, *args)  # type: ignore[arg-type]

    def shutdown(self) -> None:
        """Nothing runs."""


@dataclass
class Faults:
    """How often what goes wrong, as probabilities; all zero is a calm day."""

    drop: float = 0
    duplicate: float = 0
    delay_s: float = 0.005
    disk: float = 0  # that a write goes wrong in some way
    power: float = 0  # of these, the part that is a power cut
    arweave: float = 0


class World:
    """The hosts by name, and the network between them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.loop = SimulatedLoop(self.rng)
        self.loop.on_crash = self.crashed
        self.loop.set_exception_handler(self._unhandled)
        self.hosts: dict[str, Host] = {}
        self.faults = Faults()
        self.all: list[Host] = []  # with zombies
        self.lives: Counter[str] = Counter()
        self.off = False
        self.problems: list[str] = []
        self.events: list[str] = []  # what happened, in order: the same for the same seed
        self.factories: dict[str, Callable[[], Any]] = {}
        self.on_power_cut: Callable[[], None] = lambda: None
        self.clock_offset_ms = 0

    def note(self, what: str) -> None:
        self.events.append(f"{self.loop.time():.6f} {what}")

    def now_ms(self) -> int:
        """The wall clock, which people and NTP move about."""
        return 1_700_000_000_000 + int(self.loop.time() * 1000) + self.clock_offset_ms

    # Processes

    def start(self, name: str) -> None:
        """Start the process of this name; an older one that still runs goes on, unreachable (a zombie)."""
        host = Host(name)
        host.context.run(HOST.set, host)
        self.hosts[name] = host
        self.all.append(host)
        self.note(f"start {name}")
        try:
            host.actor = host.context.run(self.factories[name])
        except Crash as crash:
            self.crashed(host, crash)
        except Unavailable:
            self.kill(host)

    def crashed(self, host: Host, crash: Crash) -> None:
        if crash.machine:
            self.power_cut()
        else:
            self.kill(host)

    def kill(self, host: Host, *, restart: bool = True) -> None:
        """End a process between two of its steps. Whoever started it starts it again."""
        if not host.alive:
            return
        self.note(f"kill {host.name}")
        host.alive = False
        self.all.remove(host)
        for task in list(host.tasks):
            task.cancel()
        for resource in host.open:
            resource.close()
        for child in host.children:
            self.lives[child] += 1  # what was this actor is no more; one made later is another
            if child in self.hosts:
                self.kill(self.hosts[child], restart=False)
        if self.hosts.get(host.name) is host:
            del self.hosts[host.name]
            if restart:
                life = self.lives[host.name]
                self.loop.call_later(self.rng.uniform(0.05, 2), self._again, host.name, life)

    def _again(self, name: str, life: int) -> None:
        wanted = name in self.factories and self.lives[name] == life
        if wanted and name not in self.hosts and not self.off:
            self.start(name)

    def power_cut(self) -> None:
        self.note("power cut")
        self.on_power_cut()

    def exit(self, _: int = 1) -> None:
        """os._exit, as production code calls it: rightly when it has a successor."""
        host = HOST.get()
        assert host is not None
        if host.alive and not isinstance(sys.exc_info()[1], StaleTerm):
            self.problems.append(f"{host.name} ended by an error that it does not know")
        self.kill(host)
        raise Crash

    # The network

    def delay(self) -> float:
        return self.rng.expovariate(1 / self.faults.delay_s)

    async def call(self, actor: str, method: str, *arguments: Any) -> Any:
        """One call, which may be lost, or made twice, or whose answer may be lost."""
        await asyncio.sleep(self.delay())
        chance = self.rng.random()
        if chance < self.faults.drop / 2:
            raise Unavailable(f"{actor} does not answer (lost)")
        if self.rng.random() < self.faults.duplicate:
            self.loop.call_later(self.delay(), self._invoke, actor, method, arguments)
        task = self._invoke(actor, method, arguments)
        if task is None:
            raise Unavailable(f"{actor} is not there")
        await asyncio.wait({task})
        if task.cancelled() or chance < self.faults.drop:
            raise Unavailable(f"{actor} does not answer")
        error = task.exception()
        if isinstance(error, Crash):
            raise Unavailable(f"{actor} died")
        await asyncio.sleep(self.delay())
        if error is not None:
            raise error
        return task.result()

    def _invoke(self, actor: str, method: str, arguments: Any) -> asyncio.Task[Any] | None:
        host = self.hosts.get(actor)
        if host is None or host.actor is None:
            return None
        task = self.loop.create_task(getattr(host.actor, method)(*arguments), context=host.context)
        task.add_done_callback(lambda done: self._look(host, method, done))
        return task

    def _look(self, host: Host, method: str, task: asyncio.Task[Any]) -> None:
        """An error that is not one of ours is a bug."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, AorayError | Crash) and host.alive:
            self.problems.append(f"{host.name}.{method}: {error!r}")

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not isinstance(error, AorayError | Crash | asyncio.CancelledError):
            self.problems.append(f"unhandled: {context.get('message')}: {error!r}")


class Handle:
    """In place of a Ray actor handle: `await handle.method.remote(…)`."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self._name, self._life = world, name, world.lives[name]

    def __getattr__(self, method: str) -> Any:
        if method == "wire":  # what a real actor has, and this world not: each call is this world's
            raise AttributeError
        if self._world.lives[self._name] != self._life:
            raise ray.exceptions.ActorDiedError
        return _Method(self._world, self._name, method)


class _Method:
    def __init__(self, world: World, name: str, method: str) -> None:
        self._parts = world, name, method

    def remote(self, *arguments: Any) -> Any:
        world, name, method = self._parts
        return world.call(name, method, *arguments)
