"""Condition types and reasons. The comment above each constant is its entry in the generated reference."""

# Condition types

# The run has reached its goal: a FineTuneJob has published its model, an EvalJob has its verdict. Once True it stays.
SUCCEEDED = "Succeeded"
# The run has ended without its goal and is not tried again. Once True it stays.
FAILED = "Failed"
# The endpoint answers requests (ModelServe).
READY = "Ready"
# The last revision of a ModelServe was taken back; the message says why. The one before it serves, and nothing is tried
# again until the spec changes (ModelServe).
DEGRADED = "Degraded"
# People ask for something else than they did, or than the reference has (ModelServe with watch.drift).
DRIFTED = "Drifted"
# The answers that were graded are worse than watch.watcher.minScore (ModelServe with watch.watcher).
QUALITY_LOW = "QualityLow"
# All pods of the revision that serves have its adapters (ModelServe with adapters).
ADAPTERS_LOADED = "AdaptersLoaded"
# Work is under way, or the resource waits for another one; the reason says which (kstatus).
RECONCILING = "Reconciling"
# Nothing will change until a person changes something; the message says what (kstatus).
STALLED = "Stalled"
# The verdict of the EvalJob is Passed. False with reason GateFailed names the metrics that missed.
PASSED = "Passed"
# A FineTuneJob has no attempt under way because runPolicy.suspend is true; also the reason of the attempt that was
# ended by it. Set it to false, and the next attempt goes on from the last checkpoint.
SUSPENDED = "Suspended"
# The FineTuneJob waits in the queue that its spec names; the message holds the queue's words.
QUEUED = "Queued"

# Reasons

# All pods have loaded all adapters.
ALL_LOADED = "AllLoaded"
# Pods are loading adapters.
LOADING = "Loading"
# An adapter cannot be loaded beside the model; the message says why. The others are served.
ADAPTER_REFUSED = "AdapterRefused"
# The next attempt is being started.
STARTING = "Starting"
# The attempt's process or pods run.
RUNNING = "Running"
# A worker was lost within the attempt; the workers start again and go on from the last checkpoint.
RECOVERING = "Recovering"
# The attempt is being ended, and the message says why. It has runPolicy.gracePeriodSeconds for one more checkpoint.
STOPPING = "Stopping"
# The last attempt failed for a reason that may pass; the next one starts after a delay.
RETRYING = "Retrying"
# The FineTuneJob named by the spec has not succeeded yet.
WAITING_FOR_FINE_TUNE_JOB = "WaitingForFineTuneJob"
# An EvalJob that gates this ModelServe has no verdict yet.
WAITING_FOR_EVAL_JOB = "WaitingForEvalJob"
# No run of an EvalJob that repeats is under way; the message says what it waits for.
WAITING_FOR_NEXT_RUN = "WaitingForNextRun"
# The ModelServe that this EvalJob asks does not answer yet.
WAITING_FOR_MODEL_SERVE = "WaitingForModelServe"
# A resource that the spec names does not exist yet.
REFERENCE_NOT_FOUND = "ReferenceNotFound"
# A resource that the spec names has failed. Delete it, mend its spec and create it again.
REFERENCE_FAILED = "ReferenceFailed"
# The ModelServe whose feedback the spec names keeps none. Set its spec.capture.
CAPTURES_NOTHING = "CapturesNothing"
# The references form a cycle, so that none of them can ever start. Change one of the references.
REFERENCE_CYCLE = "ReferenceCycle"
# An EvalJob that gates this ModelServe did not pass. Improve the model, or change the gate on purpose.
GATE_FAILED = "GateFailed"
# The EvalJob that gates this ModelServe judged another model than the one to be served.
EVALUATED_OTHER_MODEL = "EvaluatedOtherModel"
# The verdict is Passed.
GATES_PASSED = "GatesPassed"
# A gated metric has no value, so there is neither a pass nor a fail.
INCONCLUSIVE = "Inconclusive"
# The run has ended well.
COMPLETED = "Completed"
# The server answers completions.
SERVING = "Serving"
# A new revision is on its way; the message says how far.
ROLLING_OUT = "RollingOut"
# The rollout stands still because of `tunesmith pause`. `tunesmith resume` lets it go on.
ROLLOUT_PAUSED = "RolloutPaused"
# A step of the rollout waits for `tunesmith promote`.
WAITING_FOR_APPROVAL = "WaitingForApproval"
# What the gateway saw of the new revision broke a bound of rollout.analysis, and it was taken back.
ANALYSIS_FAILED = "AnalysisFailed"
# The new revision did not answer within rollout.progressDeadlineSeconds, and was taken back.
PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
# `tunesmith abort` has taken the new revision back.
ABORTED = "Aborted"
# Nobody asks, and no pod runs; the gateway holds the next request until one does.
SCALED_TO_ZERO = "ScaledToZero"
# No revision was taken back.
NOT_DEGRADED = "NotDegraded"
# The last window of requests differs from the reference. Look at what is asked; train on it, if the answers suffer.
INPUTS_DIFFER = "InputsDiffer"
# The last window of requests is like the reference.
INPUTS_ALIKE = "InputsAlike"
# The mean score of the last answers is below the smallest that will do. Evaluate the model, and train it on feedback.
SCORES_LOW = "ScoresLow"
# The mean score of the last answers will do.
SCORES_FINE = "ScoresFine"
# There is not enough to go by yet; the message says why, if it cannot be watched.
WATCHING = "Watching"
# The spec breaks a rule of the API; the message says which. Correct the spec.
SPEC_INVALID = "SpecInvalid"
# A part of the spec was changed that may not change once the job has started. Change it back, or create the job anew.
SPEC_CHANGED = "SpecChanged"
# An object of the name that is needed exists already and belongs to somebody else. Delete it, or choose another name.
NAME_TAKEN = "NameTaken"
# The API server refused an object that is needed; the message holds its words.
OBJECT_REFUSED = "ObjectRefused"

# Reasons of a run that waits for its turn

# The queue of the run has no room for it yet, or has taken its room back. It goes on as soon as there is room.
WAITING_IN_QUEUE = "WaitingInQueue"
# The run needs KubeRay, which is not there or does not answer. Install it, or choose another backend.
KUBERAY_UNAVAILABLE = "KubeRayUnavailable"

# Reasons of a pod that does not start

# The image of a pod cannot be pulled. Correct the image, its registry or the pull secret.
IMAGE_PULL_FAILED = "ImagePullFailed"
# No node can take a pod now: resources, node selectors, taints or an unbound volume. It starts as soon as one can.
UNSCHEDULABLE = "Unschedulable"
# A quota of the namespace has no room for a pod. It starts as soon as there is room.
QUOTA_EXCEEDED = "QuotaExceeded"
# A pod was refused by the cluster's admission; the message holds its words.
POD_REFUSED = "PodRefused"
# A volume, secret or config map of a pod cannot be mounted.
VOLUME_NOT_MOUNTED = "VolumeNotMounted"
# A container cannot be started, most often because a secret that the spec names does not exist.
CONTAINER_NOT_STARTED = "ContainerNotStarted"
# A container ends again and again; the message holds its last words.
CRASH_LOOP = "CrashLoop"

# Reasons of a failed attempt

# The dataset is missing, cannot be read or does not have the shape its format asks for.
DATA_INVALID = "DataInvalid"
# The base model is missing or is not a model that this task can use.
MODEL_INVALID = "ModelInvalid"
# The output, the checkpoints or the report cannot be written where the spec says.
STORAGE_NOT_WRITABLE = "StorageNotWritable"
# Storage does not answer, or answers with an error of its own. The next attempt goes on from the last checkpoint.
STORAGE_UNAVAILABLE = "StorageUnavailable"
# An endpoint does not answer. The next attempt keeps all answers, such as a judge's verdicts, and asks for the others.
ENDPOINT_UNAVAILABLE = "EndpointUnavailable"
# There was no space left to write to. The last complete checkpoint is kept, and the next attempt goes on from it.
STORAGE_FULL = "StorageFull"
# The port of a ModelServe belongs to another program.
PORT_TAKEN = "PortTaken"
# The combination of settings cannot be trained or evaluated; the message says which and why.
CONFIG_INVALID = "ConfigInvalid"
# The process ended without saying why: a crash, or a signal such as that of the out-of-memory killer.
CRASHED = "Crashed"
# The local shell was stopped while the attempt ran; the next run of the shell goes on from the last checkpoint.
INTERRUPTED = "Interrupted"
# The node pushed the pod out, for want of memory or disk.
EVICTED = "Evicted"
# The attempt used up its memory.
OUT_OF_MEMORY = "OutOfMemory"
# No step for runPolicy.progressTimeoutSeconds. The log has the stacks of all workers; the next attempt goes on from the
# last checkpoint.
HUNG = "Hung"
# A worker was lost. Within an attempt the workers start again, runPolicy.maxFailures times.
WORKER_LOST = "WorkerLost"
# The node that the pod ran on went away.
NODE_LOST = "NodeLost"
# CUDA or NCCL failed. The next attempt keeps away from the node where there is another one.
ACCELERATOR_FAILED = "AcceleratorFailed"
# The Job or process of the attempt is gone without our doing: somebody has deleted it.
VANISHED = "Vanished"
# runPolicy.activeDeadlineSeconds have passed. Checkpoints are kept; a new job does not go on from them.
DEADLINE_EXCEEDED = "DeadlineExceeded"
# runPolicy.gpuHours are used up. The model so far is published as partial; without any checkpoint the job has failed.
BUDGET_SPENT = "BudgetSpent"
# Any other error; the message carries it, the log carries its traceback.
INTERNAL_ERROR = "InternalError"

# Events besides

# The workers that were lost are back, and training goes on; the message says after how long.
RECOVERED = "Recovered"
# An elastic run goes on with another number of workers.
RESIZED = "Resized"
# A checkpoint cannot be read, so that training goes on from the one before.
CHECKPOINT_SKIPPED = "CheckpointSkipped"
