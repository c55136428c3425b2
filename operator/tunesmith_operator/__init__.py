"""The command line, the planner, the backends and the shells."""
