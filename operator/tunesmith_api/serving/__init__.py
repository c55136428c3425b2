"""Parts of a ModelServe."""
