"""Training, one module per method."""
