"""Datasets: reading files, knowing formats, tokenising records."""
