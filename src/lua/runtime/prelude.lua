-- Adapts Lua's own libraries to functions that wait for guests, and to errors and lines that come from Rust.
local is_pending, caught, traceback, emit, abandon, lost = ...

-- Keeps the order of what a script writes and what it prints, even in a pipe.
io.stdout:setvbuf "no"

-- If output is lost, because its reader is gone or there is no space, the script ends, as after a lost `print`.
local stdout, methods, io_write = io.stdout, getmetatable(io.stdout).__index, io.write

local function written(file, ok, done, ...)
  if not ok then
    error((done:gsub("to '%?'", "to 'write'")), 2)
  end
  if not done and file == stdout then
    lost(select(2, ...))
  end
  return done, ...
end

local file_write, pcall_of_lua = methods.write, pcall

function methods.write(file, ...)
  return written(file, pcall_of_lua(file_write, file, ...))
end

function io.write(...)
  return written(io.output(), pcall_of_lua(io_write, ...))
end

function print(...)
  local texts = table.pack(...)
  for n = 1, texts.n do
    texts[n] = tostring(texts[n])
  end
  emit(table.concat(texts, "\t"))
end

-- What a script catches of an error that comes out of Rust: if a script raised it, the very value that was raised;
-- otherwise an error object, whose text is the same as at the end of a run.
local function original(failure)
  if type(failure) ~= "userdata" then
    return failure
  end
  local known = caught(failure)
  if type(known) == "table" then
    return known.value
  end
  return known or failure
end

-- A coroutine of the script's own may make a call that waits for a guest: what such a call yields while it waits is not
-- meant for the script, and is passed on to the runtime.
local resume, yield, create, status, close, running, isyieldable =
  coroutine.resume,
  coroutine.yield,
  coroutine.create,
  coroutine.status,
  coroutine.close,
  coroutine.running,
  coroutine.isyieldable

-- The coroutine that last resumed each coroutine.
local resumed_by = setmetatable({}, { __mode = "k" })

-- A waiting coroutine ends together with the one that it waits in.
local Waiting = { __close = abandon(close) }

local function result(ok, ...)
  if ok then
    return true, ...
  end
  return false, original((...))
end

local function pass_on(thread, ok, ...)
  local first = ...
  if not (ok and is_pending(first)) then
    return result(ok, ...)
  end
  local waiting <close> = setmetatable({ thread = thread }, Waiting)
  local results
  repeat
    yield(first)
    results = table.pack(resume(thread))
  until not (results[1] and is_pending(results[2]))
  waiting.thread = nil
  return result(table.unpack(results, 1, results.n))
end

function coroutine.resume(thread, ...)
  if type(thread) == "thread" then
    resumed_by[thread] = running()
  end
  return pass_on(thread, resume(thread, ...))
end

function coroutine.close(...)
  return result(close(...))
end

-- Coroutines that Rust started, for a step and the like: a script cannot yield there, since no caller would resume it.
local begun = setmetatable({}, { __mode = "k" })

function coroutine.yield(...)
  -- Calls that wait for Rust also yield through this function.
  if begun[running()] and not is_pending((...)) then
    error("attempt to yield from outside a coroutine", 2)
  end
  return yield(...)
end

function coroutine.isyieldable(thread)
  return not begun[thread or running()] and isyieldable(thread or running())
end

local function values(thread, ok, ...)
  if ok then
    return ...
  end
  local first = ...
  if status(thread) == "dead" then
    -- An error raised while closing replaces the one that ended it.
    local closed, failure = coroutine.close(thread)
    if not closed then
      first = failure
    end
  end
  error(first, 0)
end

function coroutine.wrap(body)
  local thread = create(body)
  return function(...)
    return values(thread, coroutine.resume(thread, ...))
  end
end

local pcall_, xpcall_ = pcall, xpcall

-- Without this, an error placed at the caller of `pcall` would be placed here.
local function outcome(ok, ...)
  if ok then
    return true, ...
  end
  local first = ...
  if type(first) == "string" then
    local message = first:match "^%[stdlib%]/prelude%.lua:%d+: (.*)"
    if message then
      local _, place = pcall_(error, "", 3)
      first = place .. message
    end
  end
  return result(false, first)
end

function pcall(...)
  if select("#", ...) == 0 then
    error("bad argument #1 to 'pcall' (value expected)", 2)
  end
  return outcome(pcall_(...))
end

function xpcall(body, handler, ...)
  if type(handler) ~= "function" then
    error(("bad argument #2 to 'xpcall' (function expected, got %s)"):format(type(handler)), 2)
  end
  return xpcall_(body, function(failure)
    local ours = type(failure) == "userdata" and caught(failure)
    -- If a hook raised the error, Lua runs the handler without hooks, so nothing could end it.
    if type(ours) == "userdata" and ours.kind == "interrupted" then
      return ours
    end
    return handler(original(failure))
  end, ...)
end

-- Runs a function in a coroutine that Rust started for `parent`. A raised value becomes its result, in a table with the
-- stack of calls.
local function guard(parent, body, ...)
  resumed_by[running()], begun[running()] = parent, true
  local calls
  local function outcome(ok, ...)
    if ok then
      return true, ...
    end
    return false, { value = (...), traceback = calls }
  end
  return outcome(xpcall_(body, function(failure)
    calls = traceback()
    -- Values that are closed on the way out get the error as it was raised.
    return failure
  end, ...))
end

return guard, resumed_by
