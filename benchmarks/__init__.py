"""What the service can do on this machine, measured: `python -m benchmarks`, or `make bench`."""
