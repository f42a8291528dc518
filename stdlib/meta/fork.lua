---@meta _
-- Written by `snaptree stubs`. Forks: throw-away running clones of snapshots.

---A throw-away running clone of a snapshot, with a disk of its own. It is a guest too, and has every call of one. It
---goes when it is closed, when its scope ends (`local fork <close>`), or with the script.
---@class fork: guest
---@field name string The name of its domain.
---@field parent snapshot The snapshot that it was made of.
local Fork = {}

---Lets a port of 127.0.0.1 lead to a TCP port of the guest while the fork is there, and returns it (`hostfwd_add`).
---The machine's network has to be "user".
---
---```lua
---local port = db:forward(3306)
---```
---@param port integer A port of the guest, from 1 to 65535.
---@return integer
function Fork:forward(port) end

---@class fork.SnapshotOptions
---@field comment? string default "". Any text.

---Puts the fork as it is now into the tree, as a branch of its parent with what was done in it; it runs on. A step
---that does the same is that branch.
---
---```lua
---local kept = db:snapshot("without-users", { comment = "tried by hand" })
---```
---@param name string The snapshot's name.
---@param options? fork.SnapshotOptions
---@return snapshot
function Fork:snapshot(name, options) end

---Ends the fork; nothing of it is kept.
---
---```lua
---db:close()
---```
function Fork:close() end
