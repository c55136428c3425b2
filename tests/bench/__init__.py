"""Benchmarks: `make bench` prints figures measured in one run; nothing asserts them."""
