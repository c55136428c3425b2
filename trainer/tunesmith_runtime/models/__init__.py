"""Models: loading, adapters, publishing."""
