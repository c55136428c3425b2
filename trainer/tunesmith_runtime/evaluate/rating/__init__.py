"""A page on which people compare answers, served by the evaluation's own process."""
