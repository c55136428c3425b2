"""Decisions about ModelServes: revisions, rollouts, traffic."""
