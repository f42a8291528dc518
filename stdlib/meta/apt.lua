---@meta apt
-- Written by `snaptree stubs`. Packages of Debian and Ubuntu guests.

---Installs packages in Debian and Ubuntu guests. It does not manage repositories or keys: write the
---files under /etc/apt with `guest:write`, then call `apt.update`. If another process in the guest holds a
---lock of apt or dpkg, `update` and `install` wait for it until their time limit.
---@class apt
local M = {}

---@class apt.UpdateOptions
---@field timeout? string default "10m". How long it may take.

---Fetches the package lists; fails if a mirror cannot be reached.
---
---```lua
---apt.update(guest)
---```
---@param guest guest Where.
---@param options? apt.UpdateOptions
function M.update(guest, options) end

---@class apt.InstallOptions
---@field recommends? boolean default false. Whether to install recommended packages too.
---@field timeout? string default "30m". How long it may take.

---Installs packages. Fetches the package lists if the guest has none.
---
---```lua
---apt.install(guest, { "nginx", "curl=7.88.1-10+deb12u12" })
---```
---@param guest guest Where.
---@param packages string|string[] A name or a list of names; `name=version` asks for a version.
---@param options? apt.InstallOptions
function M.install(guest, packages, options) end

---Fetches the package lists if the guest has none.
---
---```lua
---apt.ensure_lists(guest)
---```
---@param guest guest Where.
function M.ensure_lists(guest) end

---Returns the version that would be installed, or nil if the lists do not contain the package.
---
---```lua
---print(apt.candidate(guest, "mariadb-server"))
---```
---@param guest guest Where.
---@param package string The package's name.
---@return string?
function M.candidate(guest, package) end

return M
