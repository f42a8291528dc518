---@meta _
-- Written by `snaptree stubs`. Errors of snaptree's own, as `pcall` gives them.

---What `pcall` gives when a call of snaptree's failed. `tostring(e)` and `"text: " .. e` give what a run reports, and
---`error(e)` raises it again with the same exit code. What a script raised itself comes back as the very value.
---@class error
---@field message string What failed, with its causes, in one line.
---@field hint? string How to mend it.
---@field kind string "failed", "usage", "unavailable", "bug", "timeout" or "interrupted".
---@field place? string Where in the script: "script.lua:12".
---@field failures? any[] What each raised, when several branches or functions failed at the same time; nil otherwise.
local Error = {}
