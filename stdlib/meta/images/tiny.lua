---@meta images.tiny
-- Written by `snaptree stubs`. A guest that boots in seconds.

---A guest that boots in seconds even without KVM. The module is callable. The image has a Debian kernel, busybox and
---the QEMU guest agent, about 10 MB; it has no package manager and no systemd, and /run and /tmp are in memory. mmdebstrap
---builds it on the host, in about 20 seconds, when a machine first needs it.
---
---```lua
---local vm = machine("lab", { image = require "images.tiny" {}, memory = "256MiB" })
---```
---@class images.tiny
---@overload fun(options?: images.tiny.Options): image
local M = {}

---@class images.tiny.Options
---@field suite? string default "bookworm". The Debian release that kernel, busybox and agent are taken from.
---@field mirror? string default mmdebstrap's own. A Debian mirror.
---@field disk? string default "1GiB". The size of the disk as the guest sees it.

---Describes the image, as calling the module does.
---
---```lua
---local image = require("images.tiny").image { disk = "2GiB" }
---```
---@param options? images.tiny.Options
---@return image
function M.image(options) end

return M
