"""What Prometheus reads. The names are controller-runtime's where it has one, so that its dashboards fit."""

from prometheus_client import Counter, Gauge, Histogram

QUEUE = "tunesmith"

_JOB = ["namespace", "name"]
_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300)

# Keys that wait to be worked on.
DEPTH = Gauge("workqueue_depth", "Keys that wait.", ["name"]).labels(QUEUE)
# Keys added since the start; a key that waits already is not counted again.
ADDED = Counter("workqueue_adds_total", "Keys added.", ["name"]).labels(QUEUE)
# Keys that were worked on in vain and wait for another try.
RETRIES = Counter("workqueue_retries_total", "Retries after an error.", ["name"]).labels(QUEUE)
# How long keys wait.
QUEUED_SECONDS = Histogram(
    "workqueue_queue_duration_seconds", "Seconds from added to in work.", ["name"], buckets=_SECONDS
).labels(QUEUE)
# How long work on a key takes.
WORKED_SECONDS = Histogram(
    "workqueue_work_duration_seconds", "Seconds from in work to done.", ["name"], buckets=_SECONDS
).labels(QUEUE)
# Seconds of work under way that is not done; it grows without end when a worker hangs.
UNFINISHED_SECONDS = Gauge("workqueue_unfinished_work_seconds", "Seconds of work under way.", ["name"]).labels(QUEUE)
# Seconds that the oldest work under way has taken.
LONGEST_SECONDS = Gauge(
    "workqueue_longest_running_processor_seconds", "Seconds of the longest work under way.", ["name"]
).labels(QUEUE)
# Reconciliations by kind and by how they ended.
RECONCILED = Counter("controller_runtime_reconcile_total", "Reconciliations.", ["controller", "result"])
# Reconciliations that ended with an error.
RECONCILE_ERRORS = Counter("controller_runtime_reconcile_errors_total", "Reconciliations in error.", ["controller"])
# How long a reconciliation takes.
RECONCILE_SECONDS = Histogram(
    "controller_runtime_reconcile_time_seconds", "Seconds of a reconciliation.", ["controller"], buckets=_SECONDS
)
# Workers that work on a key now.
ACTIVE_WORKERS = Gauge("controller_runtime_active_workers", "Workers at work.")
# Workers that there are.
MAX_WORKERS = Gauge("controller_runtime_max_concurrent_reconciles", "Workers.")
# Requests to the API server by method and status code; code <error> when there was no answer.
REQUESTS = Counter("rest_client_requests_total", "Requests to the API server.", ["code", "method"])
# 1 when this replica is the leader.
LEADER = Gauge("leader_election_master_status", "1 for the leader.", ["name"])
# Resources by kind, namespace and phase.
RESOURCES = Gauge("tunesmith_resources", "Resources.", ["kind", "namespace", "phase"])
# Resources that wait for a person, by reason.
STALLED = Gauge("tunesmith_stalled_resources", "Resources that wait for a person.", ["kind", "namespace", "reason"])
# Of FineTuneJobs that run, by namespace and name; gone when the job ends or is deleted. Optimizer steps done.
TRAINING_STEP = Gauge("tunesmith_training_step", "Optimizer steps done.", _JOB)
# Optimizer steps of the whole run.
TRAINING_TOTAL_STEPS = Gauge("tunesmith_training_total_steps", "Optimizer steps of the whole run.", _JOB)
# Training loss, in nats.
TRAINING_LOSS = Gauge("tunesmith_training_loss", "Training loss.", _JOB)
# Loss on the validation records, in nats.
TRAINING_EVAL_LOSS = Gauge("tunesmith_training_eval_loss", "Validation loss.", _JOB)
# Norm of the gradients.
TRAINING_GRAD_NORM = Gauge("tunesmith_training_gradient_norm", "Norm of the gradients.", _JOB)
# Real tokens per second, all workers together.
TRAINING_TOKENS = Gauge("tunesmith_training_tokens_per_second", "Real tokens per second.", _JOB)
# Model FLOPs utilisation, 0 to 1; missing where the peak of the device is not known.
TRAINING_MFU = Gauge("tunesmith_training_mfu", "Model FLOPs utilisation.", _JOB)
# Most memory that a worker has had, in bytes.
TRAINING_MEMORY = Gauge("tunesmith_training_memory_bytes", "Most memory of a worker.", _JOB)
# What the newest checkpoint was measured to be, by metric: evalLoss or SUITE/METRIC.
TRAINING_METRIC = Gauge("tunesmith_training_metric", "What a checkpoint was measured to be.", [*_JOB, "metric"])
# When training is expected to end, in seconds since 1970.
TRAINING_END = Gauge("tunesmith_training_expected_end_timestamp_seconds", "Expected end.", _JOB)
# Seconds of a step by what they are spent on.
TRAINING_STEP_SECONDS = Gauge("tunesmith_training_step_seconds", "Seconds of a step.", [*_JOB, "section"])
# How much longer than the median a straggler takes for a step; only stragglers have one.
TRAINING_STRAGGLER = Gauge("tunesmith_training_straggler_factor", "Slowness of a worker.", [*_JOB, "worker"])
