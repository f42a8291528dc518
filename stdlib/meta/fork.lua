---@meta _
-- Written by `snaptree stubs`. Forks: throw-away running clones of snapshots.

---A throw-away running clone of a snapshot, with a disk of its own. It is also a guest, with all of a guest's methods.
---It ends when it is closed, when its scope ends (`local fork <close>`), or with the script.
---@class fork: guest
---@field name string The name of its domain.
---@field parent snapshot The snapshot that it was made from.
local Fork = {}

---Forwards a port on 127.0.0.1 to a TCP port in the guest while the fork exists, and returns it (`hostfwd_add`). The
---machine's network must be "user".
---
---```lua
---local port = db:forward(3306)
---```
---@param port integer A port in the guest, from 1 to 65535.
---@return integer
function Fork:forward(port) end

---@class fork.SnapshotOptions
---@field comment? string default "". Any text.

---Adds the fork's present state to the tree, as a branch of its parent with the recorded operations; the fork keeps
---running. A step with the same operations reuses that branch.
---
---```lua
---local kept = db:snapshot("without-users", { comment = "tried by hand" })
---```
---@param name string The snapshot's name.
---@param options? fork.SnapshotOptions
---@return snapshot
function Fork:snapshot(name, options) end

---Ends the fork and deletes its disk.
---
---```lua
---db:close()
---```
function Fork:close() end
