"""What a process beside the gateway computes of its traffic: whether inputs drift, and how good answers are."""
