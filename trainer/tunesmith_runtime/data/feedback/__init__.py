"""What people said of a ModelServe's answers becomes training records."""

from tunesmith_runtime.data.feedback.learning import Feedback, LearntRecords

__all__ = ["Feedback", "LearntRecords"]
