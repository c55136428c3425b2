"""What runs inside training, evaluation and serving processes."""
