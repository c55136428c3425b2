{{- /* What the operator may do in every namespace that it watches. */ -}}
{{- define "tunesmith.operatorRules" -}}
# It reads what people declare and never writes its spec.
- apiGroups: [tunesmith.dev]
  resources: [finetunejobs, evaljobs, modelserves]
  verbs: [get, list, watch]
# It deletes those that have ended, ttlSecondsAfterFinished later.
- apiGroups: [tunesmith.dev]
  resources: [finetunejobs, evaljobs]
  verbs: [delete]
# The runs of an EvalJob that repeats are EvalJobs.
- apiGroups: [tunesmith.dev]
  resources: [evaljobs]
  verbs: [create]
- apiGroups: [tunesmith.dev]
  resources: [finetunejobs/status, evaljobs/status, modelserves/status]
  verbs: [get, patch]
# An owner reference that blocks deletion asks for this where OwnerReferencesPermissionEnforcement is on.
- apiGroups: [tunesmith.dev]
  resources: [finetunejobs/finalizers, evaljobs/finalizers, modelserves/finalizers]
  verbs: [update]
# What runs are made of.
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
{{- if ne .Values.backend "native" }}
# What KubeRay makes pods of.
- apiGroups: [ray.io]
  resources: [rayjobs]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.gangs.kueue.enabled }}
# Why Kueue holds a run back.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [get, list, watch]
{{- end }}
{{- if .Values.gangs.volcano.enabled }}
# Pods that are scheduled together, by Volcano.
- apiGroups: [scheduling.volcano.sh]
  resources: [podgroups]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.gangs.coscheduling.enabled }}
# Pods that are scheduled together, by the coscheduling plugin.
- apiGroups: [scheduling.x-k8s.io]
  resources: [podgroups]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.allowTaskCode }}
# What keeps pods with code of tasks from the network.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, create, patch]
{{- end }}
# How many pods of a server may be pushed out at a time.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch]
{{- if .Values.gatewayApi }}
# The way by which requests come to a ModelServe.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, create, patch, delete]
{{- end }}
# The token of a run's Ray cluster. No secret is ever read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# It tells its own, and reads those that say why a pod could not be made or a volume not be mounted.
- apiGroups: [""]
  resources: [events]
  verbs: [list, watch, create, patch]
# The Role of a run. It grants get and patch on one ConfigMap, which the operator has itself.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, create, patch, delete]
{{- end -}}
