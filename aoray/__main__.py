"""`python -m aoray` is the command line."""

from aoray.cli import main

main()
