"""Hyperparameter search: trials are drawn, run by Ray Tune, kept in a table, and the best one's model is published."""
