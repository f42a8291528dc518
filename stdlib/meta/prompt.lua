---@meta _
-- Never written by `snaptree stubs`: what exists only at the prompt.

---The guest of the working fork. Each line acts on it at once, even without a receiver: `run "uptime"`.
---@type guest
guest = nil

---Starts a working fork of a snapshot, on which each line acts at once. It replaces the previous one.
---
---```lua
---use "db-lab/sn02"
---run "systemctl status mariadb"
---```
---@param where string|snapshot The snapshot, or its name: "MACHINE/SNAPSHOT".
---@return fork
function use(where) end

---Undoes the last operations in the working fork.
---
---```lua
---back(2)
---```
---@param n? integer default 1. How many.
function back(n) end

---@class prompt.SnapshotOptions
---@field comment? string default "". Any text.

---Adds the present state of the working fork to the tree, as a branch of its snapshot with the recorded operations. A
---step with the same operations reuses that branch.
---
---```lua
---local sn03 = snapshot("sn03", { comment = "with the schema" })
---```
---@param name string The snapshot's name.
---@param options? prompt.SnapshotOptions
---@return snapshot
function snapshot(name, options) end

---Restarts the working fork from its snapshot, or from another one.
---
---```lua
---revert()
---revert "db-lab/sn01"
---```
---@param where? string|snapshot default the one in use. The snapshot, or its name: "MACHINE/SNAPSHOT".
---@return fork
function revert(where) end

---Undoes the last change to the machine's tree: a deletion or a revert. Returns what it was.
---
---```lua
---undo()
---```
---@return string
function undo() end

---Draws the tree of the machine in use, or of the named one.
---
---```lua
---tree "db-lab"
---```
---@param machine? string|machine default the one in use. The machine, or its name.
function tree(machine) end

---Explains a function, a type, a module or a value. Without an argument, it lists everything.
---
---```lua
---help "snapshot:branch"
---help(require "mariadb")
---```
---@param x? any A name, or the thing itself.
function help(x) end

---Prints a value in full.
---
---```lua
---show(guest:info())
---```
---@param x any The value.
function show(x) end

---Runs the failed step again, from its parent. It works only after `run --on-error repl`.
---
---```lua
---retry()
---```
function retry() end
