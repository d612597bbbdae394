"""Virtual machines: how a process's program runs. Importing this package imports no particular virtual
machine."""
