---@meta _
-- Written by `snaptree stubs`. Forks: throw-away running clones of snapshots.

---A throw-away running clone of a snapshot, with a disk of its own. It is also a guest, with all of a guest's methods.
---It ends when it is closed, when its scope ends (`local fork <close>`), or with the script.
---@class fork: guest
---@field name string The name of its domain.
---@field parent snapshot The snapshot that it was made from.
local Fork = {}

---@class fork.ForwardOptions
---@field host? integer default a free port. The port on the host, from 1 to 65535.
---@field through? "channel" | "network" default the user networking where the machine has it, otherwise the channel.

---Forwards a port on 127.0.0.1 to a TCP port in the guest while the fork exists, and returns the host's port. On a
---machine with `network = "user"`, QEMU forwards it (`hostfwd_add`), and the service in the guest must listen on all
---addresses. On any other network, or none, it goes through the guest's channel, to a service on `localhost`.
---
---```lua
---local port = db:forward(3306)
---db:forward(3306, { host = 13306, through = "channel" })
---```
---@param port integer A port in the guest, from 1 to 65535.
---@param options? fork.ForwardOptions
---@return integer
function Fork:forward(port, options) end

---Forwards a TCP port on 127.0.0.1 in the guest to one on the host's 127.0.0.1 while the fork exists, on any network, and
---returns the guest's port. If the host refuses a connection, the guest sees a reset.
---
---```lua
---db:forward_back(8080)
---db:run "curl http://127.0.0.1:8080/dump.sql | mysql"
---```
---@param host_port integer A port on the host, from 1 to 65535.
---@param guest_port? integer default the same port. A port in the guest, from 1 to 65535.
---@return integer
function Fork:forward_back(host_port, guest_port) end

---@class fork.SnapshotOptions
---@field comment? string default "". Any text.

---Adds the fork's present state to the tree, as a branch of its parent with the recorded operations; the fork keeps
---running, with its forwarded ports. The branch has none of those: what was open in the guest is closed there. A step with the same operations reuses that branch.
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
