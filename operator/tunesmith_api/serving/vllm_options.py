"""The options of `vllm serve`, sorted by what a ModelServe may set: all that `vllm serve --help=all` lists (0.32)."""

from collections.abc import Mapping

_VALUES = """
additional-config all2all-backend allowed-headers allowed-methods allowed-origins anthropic-disabled-thinking-effort
api-server-count attention-backend attention-config aux-output-config block-size chat-template
chat-template-content-format cohere-format compilation-config config-format convert cp-kv-cache-interleave-size
cpu-distributed-timeout-seconds cpu-offload-gb custom-histogram-buckets data-parallel-backend data-parallel-size
dbo-decode-token-threshold dbo-prefill-token-threshold dcp-comm-backend dcp-kv-cache-interleave-size
decode-context-parallel-size default-chat-template-kwargs device-ids device-memory-utilization diffusion-config
disable-access-log-for-endpoints distributed-executor-backend distributed-timeout-seconds
dp-supervisor-probe-failure-threshold dp-supervisor-probe-interval-s dp-supervisor-probe-timeout-s dp-sync-interval
ec-manager-config ec-transfer-config elastic-ep-max-dp-size engram-config eplb-config expert-placement-strategy
fault-tolerance-config fingerprint-mode fingerprint-value gdn-prefill-backend generation-config h11-max-header-count
h11-max-incomplete-event-size hf-overrides ir-op-priority jit-monitor-mode kda-decode-backend kda-prefill-backend
kernel-config kv-cache-memory-bytes kv-cache-metrics-sample kv-events-config kv-offloading-backend kv-offloading-size
kv-transfer-config limit-mm-per-prompt linear-backend load-format log-level logprobs-mode long-prefill-token-threshold
lora-dtype mamba-backend mamba-block-size mamba-cache-dtype mamba-cache-mode mamba-cache-philox-rounds
mamba-ssm-cache-dtype mamba-ssu-algorithm max-cpu-loras max-cudagraph-capture-size max-log-len max-logprobs
max-lora-cls-labels max-num-active-seqs max-num-queued-reqs max-num-queued-tokens max-num-scheduled-tokens
max-parallel-loading-workers media-io-kwargs mm-encoder-attn-backend mm-encoder-attn-dtype mm-encoder-fp8-scale-path
mm-encoder-fp8-scale-save-margin mm-encoder-fp8-scale-save-path mm-encoder-tp-mode mm-hasher-algorithm
mm-ipc-gpu-memory-gb mm-processor-cache-gb mm-processor-cache-type mm-processor-device mm-processor-kwargs
mm-shm-cache-max-object-size-mb mm-tensor-ipc model-impl model-loader-extra-config moe-backend num-gpu-blocks-override
offload-backend offload-group-size offload-num-in-group offload-prefetch-step optimization-level otlp-traces-endpoint
override-generation-config per-request-spec-decode-metrics performance-mode pooler-config
prefill-context-parallel-size prefill-schedule-interval prefix-cache-retention-interval prefix-caching-hash-algo
prefix-match-unit profiler-config pt-load-map-location quantization-config reasoning-config reasoning-parser
renderer-num-workers replayssm-buffer-len response-role runner safetensors-load-strategy
safetensors-prefetch-block-size safetensors-prefetch-num-threads scheduling-policy show-hidden-metrics-for-version
sparse-indexer-topk-backend spec-method spec-model spec-tokens speculative-config sse-keep-alive-interval
stream-interval structured-outputs-config tokenizer-mode tool-call-parser tool-strict-level ubatch-size
uvicorn-log-level video-pruning-method video-pruning-rate watermark watermark-config weight-transfer-config
"""
_LISTS = """
allowed-media-domains collect-detailed-traces cpu-offload-params cudagraph-capture-sizes ignore-patterns
kv-cache-dtype-skip-layers lora-target-modules numa-bind-cpus numa-bind-nodes offload-params
sleep-preserve-parameter-names
"""
_SWITCHES = """
allow-credentials allow-deprecated-quantization async-scheduling cohere-is-reasoning-model cudagraph-metrics
dcp-q-replicate disable-cascade-attn disable-chunked-mm-input disable-custom-all-reduce disable-fastapi-docs
disable-hybrid-kv-cache-manager disable-nccl-for-dp-synchronization disable-sliding-window
disable-uvicorn-access-log enable-auto-tool-choice enable-batch-sharded-sampling enable-cumem-allocator enable-dbo
enable-elastic-ep enable-ep-weight-filter enable-eplb enable-expert-parallel enable-fault-tolerance
enable-flash-late-interaction enable-flashinfer-autotune enable-force-include-usage enable-hc-sp
enable-layerwise-nvtx-tracing enable-log-deltas enable-log-outputs enable-log-requests
enable-logging-iteration-details enable-mamba-cache-stochastic-rounding enable-mamba-shared-prefix-checkpoint
enable-mfu-metrics enable-mixed-moe-lora-format enable-mm-embeds enable-moe-shared-loras enable-nccl-comm-suspend
enable-offline-docs enable-per-request-metrics enable-prompt-embeds enable-prompt-tokens-details
enable-request-id-headers enable-return-routed-experts enable-scale-out enable-server-load-tracking
enable-shm-tensor-arena enable-sleep-mode enable-tokenizer-info-endpoint enable-tower-connector-lora
enable-trace-replay exclude-tools-when-tool-choice-none fail-on-environ-validation fully-sharded-loras
interleave-mm-strings jit-monitor-verbose kv-cache-metrics kv-sharing-fast-prefill language-model-only
log-error-stack long-prefill-token-threshold-adaptive mm-device-do-normalize mm-encoder-only numa-bind
ray-workers-use-nsight return-sampling-mask return-tokens-as-token-ids scheduler-reserve-full-isl skip-mm-profiling
sleep-mode-offload-cudagraph specialize-active-lora swa-bounded-replay tokens-only trust-request-chat-template
trust-request-mm-kwargs use-fp64-gumbel use-replayssm use-tqdm-on-load
"""
_ONLY_ON = "aggregate-engine-logging disable-log-stats"
_REASONS: Mapping[str, str] = {
    "spec.model names the model": "model model-tag",
    "clients call the model by the ModelServe's name": "served-model-name",
    "the pod's server listens where its Service expects it": "host",
    "spec.port says this": "port",
    "the server is reached by its port": "uds root-path",
    "keys are checked in front of the server, and a command line is no place for secrets": "api-key",
    "credentials come from spec.secretRefs; a command line is no place for secrets": "hf-token",
    "the Service is reached by plain HTTP, as the probes are": (
        "ssl-keyfile ssl-certfile ssl-ca-certs ssl-cert-reqs ssl-ciphers enable-ssl-refresh"
    ),
    "code that comes with a model is never run": "trust-remote-code code-revision",
    "code is not named by the spec": (
        "model-class-overrides middleware tool-parser-plugin reasoning-parser-plugin io-processor-plugin "
        "logits-processors worker-cls worker-extension-cls scheduler-cls"
    ),
    "engine.args and engine.extraArgs say everything": "config",
    "the model's own files count, those that were evaluated": "hf-config-path",
    "the model's own tokenizer counts, the one that was evaluated": "tokenizer",
    "spec.model names the revision": "tokenizer-revision revision",
    "the model is there before the server starts": "download-dir",
    "it follows from the adapters": "enable-lora lora-modules",
    "adapters have names of their own": "default-mm-loras",
    "requests must not read the server's files": "allowed-local-media-path",
    "clients speak HTTP": "grpc grpc-port",
    "each replica is a whole server": "headless",
    "clients send text": "skip-tokenizer-init",
    "each replica is one pod": (
        "nnodes node-rank master-addr master-port data-parallel-address data-parallel-rpc-port "
        "data-parallel-rank data-parallel-start-rank data-parallel-size-local data-parallel-hybrid-lb "
        "data-parallel-external-lb data-parallel-multi-port-external-lb data-parallel-supervisor-port"
    ),
    "logs go where the cluster collects them": "logging-config log-config-file",
    "answers that are under way have the pod's grace period": "shutdown-timeout",
    "the server calls no others": "tool-server",
}

# Take a value.
VALUES: frozenset[str] = frozenset(_VALUES.split())
# Take one value or several.
LISTS: frozenset[str] = frozenset(_LISTS.split())
# Are on or off: --NAME or --no-NAME.
SWITCHES: frozenset[str] = frozenset(_SWITCHES.split())
# Can only be switched on: --NAME.
ONLY_ON: frozenset[str] = frozenset(_ONLY_ON.split())
# What a ModelServe says itself, or what would undo what it promises, each with the reason.
OWNED: Mapping[str, str] = {name: reason for reason, names in _REASONS.items() for name in names.split()}
