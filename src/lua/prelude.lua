-- Fits Lua's own libraries to functions that wait for guests, and to errors and lines that come from Rust.
local is_pending, caught = ...

-- What a script writes and what it prints come in one order, also where they go into a pipe.
io.stdout:setvbuf "no"

-- A coroutine of the script's own may call what waits for a guest: what such a call yields while it waits is not
-- meant for the script, and is passed on to the one who runs the script.
local resume, yield, create, status, close =
  coroutine.resume, coroutine.yield, coroutine.create, coroutine.status, coroutine.close

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

-- An error that a script catches reads as it would at the end of the run, without the traceback of our insides.
local pcall_, xpcall_ = pcall, xpcall

local function clean(ok, first, ...)
  if ok then
    return true, first, ...
  end
  return false, caught(first)
end

function pcall(...)
  return clean(pcall_(...))
end

function xpcall(body, handler, ...)
  return xpcall_(body, function(failure)
    return handler(caught(failure))
  end, ...)
end
