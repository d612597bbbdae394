"""How a process's program runs. Imports of this package import no virtual machine."""
