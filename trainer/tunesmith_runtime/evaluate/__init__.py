"""Evaluation, one module per suite."""
