"""What an answer is worth to reinforcement learning: functions and reward models."""

from tunesmith_runtime.train.rewards.scoring import Asked, Scorer, load_scorers, total

__all__ = ["Asked", "Scorer", "load_scorers", "total"]
