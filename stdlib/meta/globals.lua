---@meta _
-- Written by `snaptree stubs`. Functions of a script that belong to no object.

---Runs functions at the same time and returns what each returned, under its key. They are parts of a script that
---grow branches of several snapshots or machines. When some fail, the others are finished and all failures are
---reported together. It cannot be used inside a step, which is known by the order of its operations.
---
---```lua
---local done = parallel { function() return build_web() end, db = function() return build_db() end }
---```
---@generic K, V
---@param functions table<K, fun(): V> The functions, as a list or by name.
---@return table<K, V>
function parallel(functions) end

---Returns what `--set name=value` of `run` and `plan` gives, or the default. The default says what it can be: a
---string, a number (a whole one stays whole), or true or false. Without a default it is a string that has to be set.
---
---```lua
---local version = param("version", "10.11") -- snaptree run db.lua --set version=10.6
---```
---@param name string The parameter's name, without `=`.
---@param default? string|number|boolean What it is when nothing is set. One parameter has one default.
---@return string|number|boolean
function param(name, default) end
