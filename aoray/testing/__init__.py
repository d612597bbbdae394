"""Tools for programs that are tested against a computer: `LocalComputer` is a whole one, on this machine."""

from aoray.testing.local_computer import LocalComputer as LocalComputer

__all__ = ["LocalComputer"]
