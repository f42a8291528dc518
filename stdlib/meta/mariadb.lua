---@meta mariadb
-- Written by `snaptree stubs`. A MariaDB server in a Debian guest.

---A MariaDB server in a Debian guest, installed, running and answering. The guest's root is the server's root, over its
---socket. To reach it from the host, set `bind_address`, create a user, and forward port 3306 of a fork. It has no other
---settings.
---@class mariadb
local M = {}

---@class mariadb.InstallOptions
---@field version? string default the suite's own. The required beginning of the version, such as "10.11".
---@field packages? string[] Additional packages, such as { "mariadb-backup" }.
---@field bind_address? string default 127.0.0.1 in the guest. Where it listens; use "0.0.0.0" for ports that forks forward.

---Installs the server, enables and starts it, and returns when it answers a query.
---
---```lua
---sn01:branch("mariadb", function(guest) require("mariadb").install(guest, { version = "10.11" }) end)
---```
---@param guest guest Where.
---@param options? mariadb.InstallOptions
function M.install(guest, options) end

---@class mariadb.UserOptions
---@field password string The user's password.

---Creates a user with all privileges, from every host, or changes the password of an existing one.
---
---```lua
---require("mariadb").create_user(guest, "app", { password = "secret" })
---```
---@param guest guest Where.
---@param name string The user's name.
---@param options mariadb.UserOptions
function M.create_user(guest, name, options) end

---Returns the version that the running server reports, such as "10.11.6-MariaDB-0+deb12u1".
---
---```lua
---print(require("mariadb").version(guest))
---```
---@param guest guest Where.
---@return string
function M.version(guest) end

return M
