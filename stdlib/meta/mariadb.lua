---@meta mariadb
-- Written by `snaptree stubs`. A MariaDB server in a Debian guest.

---A MariaDB server in a Debian guest, installed, running and answering. Root of the guest is root of the server, over
---its socket.
---@class mariadb
local M = {}

---@class mariadb.InstallOptions
---@field version? string default the suite's own. What the version must begin with, such as "10.11".
---@field packages? string[] Packages to install besides, such as { "mariadb-backup" }.
---@field bind_address? string default 127.0.0.1 of the guest. Where it listens; "0.0.0.0" for ports that forks forward.

---Installs the server, enables and starts it, and returns when it answers a query.
---
---```lua
---sn01:branch("mariadb", function(guest) require("mariadb").install(guest, { version = "10.11" }) end)
---```
---@param guest guest Where.
---@param options? mariadb.InstallOptions
function M.install(guest, options) end

---@class mariadb.UserOptions
---@field password string What the user is known by.

---Makes a user who may do everything, from everywhere, or gives the one of that name this password.
---
---```lua
---require("mariadb").create_user(guest, "app", { password = "secret" })
---```
---@param guest guest Where.
---@param name string The user's name.
---@param options mariadb.UserOptions
function M.create_user(guest, name, options) end

---Returns the running server's version, as it answers itself, such as "10.11.6-MariaDB-0+deb12u1".
---
---```lua
---print(require("mariadb").version(guest))
---```
---@param guest guest Where.
---@return string
function M.version(guest) end

return M
