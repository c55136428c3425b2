"""Passages of documents that fit a question: an index, built and asked by a process beside the gateway."""
