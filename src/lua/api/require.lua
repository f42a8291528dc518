-- `require`: loads each module once; a caller that asks for a module that is being loaded waits for it.
local find, signal, refuse, ended, resumed_by = ...
local loaded, preload, running = package.loaded, package.preload, coroutine.running

-- The modules that are being loaded, by name.
local loading = {}
-- The module whose code a coroutine runs.
local runs = setmetatable({}, { __mode = "k" })

-- Returns the module that cannot continue until the caller does, if any.
local function innermost()
  local thread = running()
  while thread and not runs[thread] do
    thread = resumed_by[thread]
  end
  return thread and runs[thread]
end

local Need = {
  __close = function(need)
    need.of.needs[need] = nil
  end,
}

-- Records that a module cannot continue until another one is loaded.
local function need(of, module)
  if not of then
    return nil
  end
  local noted = setmetatable({ of = of }, Need)
  of.needs[noted] = module
  return noted
end

-- Lists the modules on the path from one to another that it needs; nil if it does not need it.
local function way(from, to, seen)
  if from == to then
    return { from }
  end
  seen[from] = true
  for _, module in pairs(from.needs) do
    local rest = not seen[module] and way(module, to, seen)
    if rest then
      table.insert(rest, 1, from)
      return rest
    end
  end
end

-- Also after a failure, and if the loading coroutine is abandoned. Not written in Lua, which an interrupt would stop.
local Loading = { __close = ended(loading, runs) }

local function load_now(name, of)
  local chunk, file = preload[name], ":preload:"
  if chunk == nil then
    chunk, file = find(name)
  end
  local thread = running()
  local module <close> = setmetatable({
    name = name,
    file = file,
    thread = thread,
    outer = runs[thread],
    needs = {},
    ended = signal(),
  }, Loading)
  local _ <close> = need(of, module)
  loading[name], runs[thread] = module, module
  local value = chunk(name, file)
  if value ~= nil then
    loaded[name] = value
  elseif loaded[name] == nil then
    loaded[name] = true
  end
  return loaded[name], file
end

function require(name)
  if type(name) == "number" then
    name = tostring(name)
  elseif type(name) ~= "string" then
    local got = name == nil and "no value" or type(name)
    error(("bad argument #1 to 'require' (string expected, got %s)"):format(got), 2)
  end
  local of = innermost()
  while true do
    local module = loading[name]
    if not module then
      if loaded[name] then
        return loaded[name]
      end
      return load_now(name, of)
    end
    local cycle = of and way(module, of, {})
    if cycle then
      -- The module may have set what others get before it ends.
      if loaded[name] then
        return loaded[name]
      end
      table.insert(cycle, module)
      refuse(cycle)
    end
    local _ <close> = need(of, module)
    module.ended:wait()
    if module.failed then
      error(module.failed[1], 0)
    end
  end
end
