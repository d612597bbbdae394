"""A virtual machine in a page, as a stranger would write it: a calculator, whose modules say its buttons."""

from __future__ import annotations

import operator
from pathlib import Path

import orjson

from aoray.errors import UnsupportedModule
from aoray.vm.engines import Engine
from aoray.vm.interface import Instance, Limits, Outcome, Program, Vm, failed, outcome_of

BUTTONS = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul}
LARGEST = 10**12


class Calculator(Vm):
    def __init__(self, directory: Path) -> None:
        """Nothing is kept."""

    def load(self, module: bytes, rules: Engine, owner: str) -> Buttons:
        self.check(module)
        return Buttons(module.decode().split(), rules)

    @staticmethod
    def check(module: bytes, *, thoroughly: bool = False) -> None:
        for name in module.decode(errors="replace").split() or ["nothing"]:
            if name not in BUTTONS:
                raise UnsupportedModule(
                    f"a calculator has no button {name!r}; there are {', '.join(BUTTONS)}"
                )


class Buttons(Program):
    def __init__(self, names: list[str], rules: Engine) -> None:
        self.names, self.rules = names, rules

    def boot(self, limits: Limits) -> Display:
        return Display(self)


class Display(Instance):
    def __init__(self, program: Buttons) -> None:
        self.program, self.total = program, 0

    def evaluate(self, message: bytes, env: bytes) -> Outcome:
        outcome, self.total = self.pressed(message)
        return outcome

    def dry_run(self, message: bytes, env: bytes) -> Outcome:
        return self.pressed(message)[0]

    def pressed(self, message: bytes) -> tuple[Outcome, int]:
        name, _, number = orjson.loads(message)["Data"].strip().partition(" ")
        total = self.total
        if name and name not in self.program.names:
            return failed(f"this calculator can't {name[:20]}", fuel=1), total
        if name:
            total = BUTTONS[name](total, int(number) if number.isdecimal() and len(number) < 12 else 0)
        if abs(total) > LARGEST:
            return failed("that is more than the display shows", fuel=1), self.total
        return outcome_of({"Output": str(total)}, 1, self.program.rules), total
