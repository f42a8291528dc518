-- A PostgreSQL server in a Debian guest. meta/postgresql.lua documents each function.

local apt = require "apt"
local check_options = require("snaptree").check_options

local M, H = {}, {}

function M.install(guest, options)
  options = options or {}
  check_options("postgresql.install", options, { version = "string", packages = "table" })
  local server = "postgresql"
  if options.version then
    server = "postgresql-" .. options.version
    if not apt.candidate(guest, server) then
      local message = "postgresql: there is no version `%s` to install: this guest's Debian has no package %s\n"
        .. "hint: give the major version alone, such as 15; PostgreSQL's own repository may have others"
      error(message:format(options.version, server), 2)
    end
  end
  apt.install(guest, table.move(options.packages or {}, 1, #(options.packages or {}), 2, { server }))
  guest:run({ "systemctl", "enable", "--now", "postgresql.service" }, { timeout = "5m" })
  guest:wait_for_unit("postgresql.service", { timeout = "5m" })
  guest:wait_until_succeeds(H.query("select 1"), { timeout = "5m" })
  M.version(guest)
end

function M.version(guest)
  local answer = guest:run(H.query("show server_version"), { timeout = "2m" })
  return (answer.stdout:gsub("%s+$", ""))
end

-- Helpers -----------------------------------------------------------------------------------------------------------

-- The working directory must be accessible to the user postgres, or psql complains.
function H.query(sql)
  return ("cd / && su postgres -c 'psql -X -t -A -c \"%s\"'"):format(sql)
end

return M
