"""Backends: a workload becomes something that runs."""
