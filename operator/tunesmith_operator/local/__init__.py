"""The local shell: the planner's decisions carried out by processes on this machine."""
