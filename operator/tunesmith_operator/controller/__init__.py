"""The kopf shell: it watches, queues, observes, lets the planner decide, applies, and writes the status."""
