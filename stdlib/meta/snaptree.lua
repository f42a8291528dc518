---@meta snaptree
-- Written by `snaptree stubs`. Checks for modules of your own.

---Checks for Lua modules of your own, the same as those of the built-in modules.
---@class snaptree
local M = {}

---Returns the options, or an empty table. An unknown option, or a value of the wrong type, is an error that says what
---is right.
---
---```lua
---options = require("snaptree").check_options("web.install", options, { port = "number", tls = "boolean" })
---```
---@param what string The function's name for errors.
---@param options table? The options of the call.
---@param types table<string, string> Lua's type for each option.
---@return table
function M.check_options(what, options, types) end

---Returns the word of a list that is most similar to another, or nil if none is.
---
---```lua
---local near = require("snaptree").suggest("bokworm", { "bookworm", "trixie" })
---```
---@param word string The unknown word.
---@param known string[] The known words.
---@return string?
function M.suggest(word, known) end

---Returns the Lua expression that calls a module with options, for `expression` of `image.build`.
---
---```lua
---local said = require("snaptree").expression("images.mine", { release = 7 })
---```
---@param module string The module's name.
---@param options table? The options of the call.
---@return string
function M.expression(module, options) end

return M
