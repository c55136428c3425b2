-- Health of a ModelServe, from its conditions.
--
--   the operator has not seen the latest spec          Progressing
--   Stalled is True                                    Degraded     also while the model before is still served
--   it waits for a resource that nobody has created    Suspended
--   its rollout is paused, or waits for a person       Suspended
--   Reconciling is True                                Progressing  it starts, or waits for a job that runs
--   Ready is True                                      Healthy
--   anything else                                      Progressing
--
-- Only what Lua 5.1 has without its libraries is used; Argo CD gives no more.

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is_true(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end

local function health(word, name)
  local condition = conditions[name]
  return { status = word, message = condition and condition.message or "" }
end

if (status.observedGeneration or 0) < (obj.metadata.generation or 0) then
  return { status = "Progressing", message = "The operator has not looked at the latest spec yet" }
end
if is_true("Stalled") then
  return health("Degraded", "Stalled")
end
if is_true("Reconciling") then
  local waits = conditions.Reconciling.reason == "ReferenceNotFound"
  return health(waits and "Suspended" or "Progressing", "Reconciling")
end
local rollout = conditions.Reconciling and conditions.Reconciling.reason
if rollout == "RolloutPaused" or rollout == "WaitingForApproval" then
  return health("Suspended", "Reconciling")
end
if is_true("Ready") then
  return health("Healthy", "Ready")
end
return health("Progressing", "Ready")
