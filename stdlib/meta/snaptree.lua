---@meta snaptree
-- Written by `snaptree stubs`. Checks for modules of your own.

---Checks for Lua modules of your own, such as the ones in the binary make.
---@class snaptree
local M = {}

---Returns the options, or an empty table; an unknown one, or one of another type, is an error that names the
---nearest.
---
---```lua
---options = require("snaptree").check_options("web.install", options, { port = "number", tls = "boolean" })
---```
---@param what string The function, as errors name it.
---@param options table? What it was called with.
---@param types table<string, string> Lua's type for each option.
---@return table
function M.check_options(what, options, types) end

---Returns the word in a list that is most like another, or nil when none is.
---
---```lua
---local near = require("snaptree").suggest("bokworm", { "bookworm", "trixie" })
---```
---@param word string What was written.
---@param known string[] What could have been meant.
---@return string?
function M.suggest(word, known) end

---Returns what a script says to call a module with options, for `image.build`'s `expression`.
---
---```lua
---local said = require("snaptree").expression("images.mine", { release = 7 })
---```
---@param module string The module's name.
---@param options table? What it was called with.
---@return string
function M.expression(module, options) end

return M
