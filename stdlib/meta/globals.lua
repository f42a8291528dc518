---@meta _
-- Written by `snaptree stubs`. Functions of a script that belong to no object.

---Runs functions at the same time and returns each result under its function's key. Use it for parts of a script that
---grow branches of several snapshots or machines. If some fail, the others still finish, and all failures are reported
---together. It cannot be used inside a step, because snaptree identifies a step by the order of its operations.
---
---```lua
---local done = parallel { function() return build_web() end, db = function() return build_db() end }
---```
---@generic K, V
---@param functions table<K, fun(): V> The functions, as a list or by name.
---@return table<K, V>
function parallel(functions) end

---Returns the value of `--set name=value` of `run` and `plan`, or the default. The default determines the type: a
---string, a number (an integer stays an integer), or a boolean. Without a default it is a string that must be set.
---
---```lua
---local version = param("version", "10.11") -- snaptree run db.lua --set version=10.6
---```
---@param name string The parameter's name, without `=`.
---@param default? string|number|boolean The value if none is set. Each parameter has only one default.
---@return string|number|boolean
function param(name, default) end
