"""What a run does about failures: signs of life, hangs, an end on notice, lost workers."""
