-- A MariaDB server in a Debian guest. meta/mariadb.lua documents each function.

local apt = require "apt"
local check_options = require("snaptree").check_options

local M, H = {}, {}

function M.install(guest, options)
  options = options or {}
  check_options("mariadb.install", options, {
    version = "string",
    packages = "table",
    bind_address = "string",
  })
  if options.version then
    H.check_version(options.version, apt.candidate(guest, "mariadb-server"))
  end
  local packages = { "mariadb-server" }
  apt.install(guest, table.move(options.packages or {}, 1, #(options.packages or {}), 2, packages))
  if options.bind_address then
    guest:write(H.settings, ("[mysqld]\nbind-address = %s\nskip-name-resolve\n"):format(options.bind_address))
    guest:run({ "systemctl", "restart", "mariadb.service" }, { timeout = "5m" })
  end
  guest:run({ "systemctl", "enable", "--now", "mariadb.service" }, { timeout = "5m" })
  guest:wait_for_unit("mariadb.service", { timeout = "5m" })
  guest:wait_until_succeeds("mariadb -e 'select 1'", { timeout = "5m" })
  M.version(guest)
end

function M.version(guest)
  local answer = guest:run({ "mariadb", "-N", "-B", "-e", "select version()" }, { timeout = "2m" })
  return (answer.stdout:gsub("%s+$", ""))
end

function M.create_user(guest, name, options)
  options = options or {}
  check_options("mariadb.create_user", options, { password = "string" })
  if not options.password then
    error("mariadb.create_user: there is no password\nhint: mariadb.create_user(guest, name, { password = ... })", 2)
  end
  local user = H.quote(name) .. "@'%'"
  guest:run({ "mariadb" }, {
    stdin = ("create or replace user %s identified by %s; grant all privileges on *.* to %s;\n"):format(
      user,
      H.quote(options.password),
      user
    ),
    timeout = "2m",
  })
end

-- Helpers -----------------------------------------------------------------------------------------------------------

H.settings = "/etc/mysql/mariadb.conf.d/90-snaptree.cnf"

function H.quote(text)
  return "'" .. text:gsub("\\", "\\\\"):gsub("'", "''") .. "'"
end

function H.check_version(wanted, candidate)
  -- 1:10.11.6-0+deb12u1
  local version = (candidate or ""):gsub("^%d+:", "")
  local rest = version:sub(1, #wanted) == wanted and version:sub(#wanted + 1)
  if not rest or rest:match("^%d") then
    local has = candidate and ("this guest's Debian has " .. version) or "this guest's Debian has none"
    local hint = "another suite, or MariaDB's own repository, may have it"
    error(("mariadb: there is no version `%s` to install: %s\nhint: %s"):format(wanted, has, hint), 3)
  end
end

return M
