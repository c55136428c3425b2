"""What is done to training records before they are used: some are left out, others lose personal data."""

from tunesmith_runtime.data.quality.cleaning import Cleaner, QualityCounts

__all__ = ["Cleaner", "QualityCounts"]
