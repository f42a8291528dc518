-- Lets a coroutine of the script's own call what waits for a guest: what such a call yields while it waits is
-- not meant for the script, and is passed on to the one who runs the script.
local is_pending = ...
local resume, yield, create, status, close = coroutine.resume, coroutine.yield, coroutine.create, coroutine.status, coroutine.close

local function pass_on(thread, ok, first, ...)
  if ok and is_pending(first) then
    yield(first)
    return pass_on(thread, resume(thread))
  end
  return ok, first, ...
end

function coroutine.resume(thread, ...)
  return pass_on(thread, resume(thread, ...))
end

local function values(thread, ok, first, ...)
  if ok then
    return first, ...
  end
  if status(thread) ~= "dead" then
    close(thread)
  end
  error(first, 0)
end

function coroutine.wrap(body)
  local thread = create(body)
  return function(...)
    return values(thread, coroutine.resume(thread, ...))
  end
end
