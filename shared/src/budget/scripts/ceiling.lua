-- Stands before every script that goes by the ceiling.

-- What is granted in a window: the quota, or after a 429 the `ceiling` that it left (close.lua), and a twentieth of the quota
-- more from window to window since `raised_from`, until it is whole again.
local function ceiling_now(now, quota, window, ceiling, raised_from)
  if not ceiling then
    return quota
  end
  return math.min(quota, ceiling + quota / 20 * math.max(0, now - raised_from) / window)
end

