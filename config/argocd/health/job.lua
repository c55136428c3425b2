-- Health of a FineTuneJob or an EvalJob, from its conditions.
--
--   Failed is True                                     Degraded     for good: delete it, mend it, create it again
--   Succeeded is True, Passed is there and not True    Degraded     an EvalJob whose gates the model did not pass
--   Succeeded is True                                  Healthy
--   the operator has not seen the latest spec          Progressing
--   Stalled is True                                    Degraded     a person has to change something
--   Suspended is True                                  Suspended    runPolicy.suspend is true
--   it waits for a resource that nobody has created    Suspended
--   a scheduled EvalJob between two runs               Healthy, or Degraded if the last one did not pass
--   anything else                                      Progressing  it runs, or waits for one that runs
--
-- Failed and Succeeded come first: once True they stay, and the operator does not look at what ended before.
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

if is_true("Failed") then
  return health("Degraded", "Failed")
end
if is_true("Succeeded") then
  if conditions.Passed ~= nil and not is_true("Passed") then
    return health("Degraded", "Passed")
  end
  return health("Healthy", "Succeeded")
end
if (status.observedGeneration or 0) < (obj.metadata.generation or 0) then
  return { status = "Progressing", message = "The operator has not looked at the latest spec yet" }
end
if is_true("Stalled") then
  return health("Degraded", "Stalled")
end
if is_true("Suspended") then
  return health("Suspended", "Suspended")
end
if is_true("Reconciling") and conditions.Reconciling.reason == "ReferenceNotFound" then
  return health("Suspended", "Reconciling")
end
if conditions.Reconciling ~= nil and conditions.Reconciling.status == "False"
  and conditions.Reconciling.reason == "WaitingForNextRun" then
  if conditions.Passed ~= nil and conditions.Passed.status == "False" then
    return health("Degraded", "Passed")
  end
  return health("Healthy", "Reconciling")
end
return health("Progressing", "Reconciling")
