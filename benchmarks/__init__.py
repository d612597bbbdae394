"""What aoray does on a machine, measured from outside, over HTTP: `python -m benchmarks NAME --help`."""
