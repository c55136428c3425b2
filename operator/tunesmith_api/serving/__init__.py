"""The parts of a ModelServe."""
