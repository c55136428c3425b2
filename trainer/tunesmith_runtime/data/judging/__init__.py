"""Pairs of answers become preferences: a judge behind an endpoint says which is better (Bai et al. 2022, RLAIF)."""

from tunesmith_runtime.data.judging.labelling import JudgedRecords, Judging

__all__ = ["JudgedRecords", "Judging"]
