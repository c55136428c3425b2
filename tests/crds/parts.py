"""What whole resources of several kinds have in common."""

from typing import Any

Object = dict[str, Any]

POD_TEMPLATE: Object = {
    "image": "registry.example/runtime:1",
    "labels": {"team": "support"},
    "annotations": {"example.com/why": "a test"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "batch",
    "runtimeClassName": "nvidia",
    "imagePullSecrets": [{"name": "registry"}],
    "env": [{"name": "LEVEL", "value": "debug"}],
    "volumes": [{"name": "scratch", "emptyDir": {}}],
    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    "serviceAccountName": "trainer",
}
RUN: Object = {
    "resources": {"gpu": 1, "cpu": "500m", "memory": "16Gi"},
    "podTemplate": POD_TEMPLATE,
    "secretRefs": [{"name": "hub-token"}],
}
ENDPOINT: Object = {
    "url": "http://bot.default.svc:8000/v1",
    "model": "bot",
    "maxConcurrency": 4,
    "timeoutSeconds": 30,
    "maxRetries": 2,
    "apiKeySecretRef": {"name": "openai", "key": "api-key"},
}
