-- Packages of Debian and Ubuntu guests. meta/apt.lua documents each function.

local check_options = require("snaptree").check_options

local M, H = {}, {}

function M.update(guest, options)
  options = options or {}
  check_options("apt.update", options, { timeout = "string" })
  -- Without this, apt-get reports success even if it could reach no mirror.
  guest:run({ "apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any" }, {
    env = H.env,
    retry_on = H.busy,
    timeout = options.timeout or "10m",
  })
end

function M.install(guest, packages, options)
  options = options or {}
  check_options("apt.install", options, { recommends = "boolean", timeout = "string" })
  packages = type(packages) == "string" and { packages } or packages
  H.check_packages(packages)
  M.ensure_lists(guest)
  local argv = { "apt-get", "install", "-y", "-q" }
  if not options.recommends then
    table.insert(argv, "--no-install-recommends")
  end
  -- A failed step leaves no snapshot, so syncing after every file gains nothing.
  table.move({ "-o", "Dpkg::Options::=--force-unsafe-io", "-o", "Dpkg::Use-Pty=0", "--" }, 1, 5, #argv + 1, argv)
  table.move(packages, 1, #packages, #argv + 1, argv)
  guest:run(argv, { env = H.env, retry_on = H.busy, timeout = options.timeout or "30m" })
end

function M.ensure_lists(guest)
  if not guest:run("ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1", { check = false }).ok then
    M.update(guest)
  end
end

function M.candidate(guest, package)
  M.ensure_lists(guest)
  local policy = guest:run({ "apt-cache", "policy", package }, { env = H.env }).stdout
  local version = policy:match("Candidate: (%S+)")
  return version ~= "(none)" and version or nil
end

-- Helpers -----------------------------------------------------------------------------------------------------------

-- The messages of apt and dpkg, in all versions, about a lock that another process holds, usually unattended-upgrades
-- or apt-daily after the first boot. Not all versions have an option to wait, and none has it for the lists' lock.
H.busy = { "Could not get lock ", "locked by another process" }

H.env = { DEBIAN_FRONTEND = "noninteractive", LC_ALL = "C.UTF-8" }

function H.check_packages(packages)
  if type(packages) ~= "table" or #packages == 0 then
    error("apt.install: the packages must be a name or a list of names", 3)
  end
  for position, package in ipairs(packages) do
    if type(package) ~= "string" or package == "" then
      error(("apt.install: package %d is not a name but %s"):format(position, tostring(package)), 3)
    end
  end
end

return M
