---@meta _
-- Written by `snaptree stubs`. Errors of snaptree's own, as `pcall` returns them.

---What `pcall` returns when a call to snaptree fails. `tostring(e)` and `"text: " .. e` give the text that a run
---reports, and `error(e)` raises it again with the same exit code. A value that the script raised itself is returned
---unchanged.
---@class error
---@field message string What failed, with its causes, in one line.
---@field hint? string How to fix it.
---@field kind string "failed", "usage", "unavailable", "bug", "timeout" or "interrupted".
---@field place? string The place in the script: "script.lua:12".
---@field failures? any[] The error of each, if several branches or functions failed at the same time; nil otherwise.
local Error = {}
