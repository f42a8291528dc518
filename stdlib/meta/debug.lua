---@meta _
-- Written by `snaptree stubs`. What there is of Lua's `debug`.

---What there is of Lua's own library for debugging.
---@class debug
debug = {}

---Returns the calls that are under way, as text, after a message: `xpcall(f, debug.traceback)`. A message that is no
---string comes back as it is.
---
---```lua
---local ok, why = xpcall(build, debug.traceback)
---```
---@param message? any
---@param level? integer default 1. Where the list begins: 1 is the caller.
---@return any
function debug.traceback(message, level) end
