---@meta _
-- Written by `snaptree stubs`. The available part of Lua's `debug`.

---The available part of Lua's own library for debugging.
---@class debug
debug = {}

---Returns a message with the stack of calls as text: `xpcall(f, debug.traceback)`. A message that is not a string is
---returned unchanged.
---
---```lua
---local ok, why = xpcall(build, debug.traceback)
---```
---@param message? any
---@param level? integer default 1. Where the stack begins: 1 is the caller.
---@return any
function debug.traceback(message, level) end
