"""A suite of a spec becomes records."""

from tunesmith_api.data import DatasetSource
from tunesmith_api.suites import Suite
from tunesmith_runtime.data.streams import read_records
from tunesmith_runtime.evaluate.samples import LoadedSuite


def read_suite(suite: Suite) -> LoadedSuite:
    """Return the suite with its records. Raises DataError."""
    kind = suite.golden or suite.perplexity
    assert kind is not None  # noqa: S101 - a suite has exactly one kind
    parsed = read_records(DatasetSource(uri=kind.uri, format=kind.format))
    return LoadedSuite(suite, parsed.records, parsed.empty)
