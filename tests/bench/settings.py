"""What holds for all contestants. It imports nothing of ours: one of them runs in an environment of its own."""

import os

# Figures are taken with all of them.
RECORDS = int(os.environ.get("BENCH_RECORDS", "320"))
HELD_OUT = 64
LEARNING_RATE = 1e-3
SEED = 42
# Contestants that pad see 8 records in a step, the others as many tokens as that many records have on average.
BATCH_RECORDS = 8
LENGTH = 256
BATCH_SEQUENCES = 2
BUCKETS = (32, 64, 128, 256)
# Steps at the beginning that speeds leave out: memory is allocated, caches are filled.
WARM_UP = 3
