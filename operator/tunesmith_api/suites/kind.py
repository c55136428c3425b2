"""What all kinds of suites have in common."""

from abc import ABC, abstractmethod

from tunesmith_api.base import ApiModel


class SuiteKind(ApiModel, ABC):
    """What a suite measures."""

    @property
    def needs_weights(self) -> bool:
        """Whether it asks for a model's own probabilities, which an endpoint does not give."""
        return False

    @property
    def needs_endpoint(self) -> bool:
        """Whether it can be measured on an endpoint alone."""
        return False

    @abstractmethod
    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that it gives for sure, by bare name."""

    def may_give(self, metric: str) -> bool:
        """Return whether it may give a further metric, which depends on its records."""
        return False
