"""Reward models in two stages: general pairs, then pairs of a domain that the first stage does not contradict."""
