"""lm-evaluation-harness: its tasks over our models, its results as ours."""
