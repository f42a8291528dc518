---@meta postgresql
-- Written by `snaptree stubs`. A PostgreSQL server in a Debian guest.

---A PostgreSQL server in a Debian guest, installed, running and answering. It sets up no roles,
---passwords or settings; the guest's user `postgres` is the superuser, over the socket.
---@class postgresql
local M = {}

---@class postgresql.InstallOptions
---@field version? string default the suite's own. The major version, such as "15".
---@field packages? string[] Additional packages, such as { "postgresql-15-postgis-3" }.

---Installs the server, enables and starts it, and returns when it answers a query.
---
---```lua
---sn01:branch("postgresql", function(guest) require("postgresql").install(guest) end)
---```
---@param guest guest Where.
---@param options? postgresql.InstallOptions
function M.install(guest, options) end

---Returns the version that the running server reports, such as "15.14 (Debian 15.14-0+deb12u1)".
---
---```lua
---print(require("postgresql").version(guest))
---```
---@param guest guest Where.
---@return string
function M.version(guest) end

return M
