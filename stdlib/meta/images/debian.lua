---@meta images.debian
-- Written by `snaptree stubs`. Debian as a machine image.

---A small but normal Debian with systemd, apt, the QEMU guest agent and DHCP on eth0. The module is callable.
---mmdebstrap builds the image on the host, in about a minute, when a machine first needs it; x86-64 only. Root has no
---password, and the serial console logs in as root. The kernel packages are held, since a kernel that is upgraded inside
---the guest is not booted. Services for machines that run for weeks, such as apt-daily, are masked.
---
---```lua
---local vm = machine("kvm_debian12", { image = require "images.debian" { suite = "bookworm" } })
---```
---@class images.debian
---@field suites string[] The suites that Debian's own mirrors have.
---@overload fun(options?: images.debian.Options): image
local M = {}

---@class images.debian.Options
---@field suite? string default "bookworm". A release of Debian; with a `mirror` of your own, any name.
---@field packages? string[] Additional packages.
---@field mirror? string default mmdebstrap's own, with security updates. A Debian mirror.
---@field disk? string default "8GiB". The size of the disk as the guest sees it.
---@field hostname? string default "debian". The guest's name.
---@field timezone? string default UTC. A time zone such as "Europe/Paris".

---Describes the image, as calling the module does.
---
---```lua
---local image = require("images.debian").image { packages = { "curl" } }
---```
---@param options? images.debian.Options
---@return image
function M.image(options) end

---Fails unless `suite` is a suite of Debian; with a mirror of your own, any name is accepted. For image builders.
---
---```lua
---debian.check_suite("images.mine", "bookworm")
---```
---@param what string The caller that the error names.
---@param suite string The suite's name.
---@param mirror? string A Debian mirror.
function M.check_suite(what, suite, mirror) end

---Runs mmdebstrap in the workshop; errors begin with `what`. For image builders.
---
---```lua
---debian.bootstrap("images.mine", work, { "--variant=minbase", "bookworm", "source.tar" })
---```
---@param what string The caller that the error names.
---@param work work Where.
---@param arguments string[] The arguments of mmdebstrap.
function M.bootstrap(what, work, arguments) end

return M
