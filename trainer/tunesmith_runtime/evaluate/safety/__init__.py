"""How a model behaves where it could do harm: one module for each part of the safety suite."""
