"""Which virtual machine runs a module: by its Module-Format, or by the shape of its bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from guests import counter
from installed_package import FORMAT, forget, install

from aoray.errors import Unavailable, UnknownFormat, UnsupportedModule
from aoray.vm.engines import ENGINES
from aoray.vm.interface import Limits
from aoray.vm.registry import WASM, VirtualMachines, check_module, name_of, virtual_machine
from aoray.vm.wasm import WasmEngine, WasmModule

BEFORE_FORMATS = [rules for rules in ENGINES.values() if not rules.formats_are_read]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return installed(install(tmp_path / "site"), monkeypatch)


@pytest.fixture(autouse=True)
def forgotten() -> None:
    forget()


def installed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(directory)
    monkeypatch.delitem(sys.modules, "calculator", raising=False)
    return directory


@pytest.mark.parametrize(
    "module_format", ["", "wasm32-wasi", "wasm64-unknown-emscripten", "none-such", FORMAT]
)
def test_wasm_is_wasm_whatever_its_format_is_called(package: Path, module_format: str) -> None:
    assert name_of(module_format, b"\0asm\1\0\0\0") == WASM
    assert virtual_machine(WASM) is WasmEngine


def test_without_a_format_or_under_one_of_wasm_what_is_not_wasm_is_refused_by_wasm() -> None:
    for module_format in ("", "wasm32-wasi"):
        with pytest.raises(UnsupportedModule):
            check_module(b"add", module_format)


def test_a_format_that_nobody_has_is_refused_in_words_and_gives_no_result() -> None:
    with pytest.raises(
        UnknownFormat, match="no virtual machine here runs the Module-Format 'calculator-1'"
    ) as no:
        check_module(b"add", FORMAT)
    assert "Here are: wasm" in no.value.hint
    assert not isinstance(no.value, UnsupportedModule)  # which is a result, and the same everywhere


@pytest.mark.parametrize("rules", BEFORE_FORMATS)
def test_processes_from_before_formats_were_read_are_all_wasms(package: Path, rules: object) -> None:
    assert name_of(FORMAT, b"add", rules) == name_of("none-such", b"add", rules) == WASM  # type: ignore[arg-type]


def test_an_installed_package_brings_a_virtual_machine_by_one_line(package: Path, tmp_path: Path) -> None:
    machines = VirtualMachines(tmp_path / "compiled")
    program = machines.load(b"add subtract", FORMAT)
    process = program.boot(Limits())
    assert process.evaluate(b'{"Data": "add 5"}', b"{}").response["Output"] == "5"
    assert process.dry_run(b'{"Data": "add 5"}', b"{}").response["Output"] == "10"
    assert process.evaluate(b'{"Data": "subtract 2"}', b"{}").response["Output"] == "3"
    assert process.evaluate(b'{"Data": "multiply 2"}', b"{}").error == "this calculator can't multiply"
    assert isinstance(machines.load(counter(), FORMAT.upper()), WasmModule)
    with pytest.raises(UnsupportedModule, match="no button 'divide'"):
        check_module(b"add divide", FORMAT, thoroughly=True)


def test_a_package_takes_nothing_from_wasm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (f"{name} = calculator:Calculator" for name in ("wasm", "wasm32-wasi"))
    installed(install(tmp_path, *lines), monkeypatch)
    assert name_of("wasm32-wasi", b"\0asm") == WASM
    assert virtual_machine(WASM) is WasmEngine


@pytest.mark.parametrize("line", ["broken = calculator:Nothing", "broken = no_such_module:Calculator"])
def test_a_package_that_is_broken_is_a_fault_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    installed(install(tmp_path, line), monkeypatch)
    with pytest.raises(Unavailable, match="the virtual machine 'broken' can't be loaded"):
        check_module(b"add", "broken")
