---@meta images.boot
-- Written by `snaptree stubs`. Helpers for image builders.

---A small initramfs and a disk made from a tree of files, for image builders. It has no boot loader, LVM or encryption,
---and only ext4 and x86-64. Call it in the `build` function of `image.build`, with the option `cmdline = boot.cmdline`:
---`disk` makes `disk.qcow2` and leaves `root`, from which `initramfs` makes `vmlinuz` and `initrd`.
---@class images.boot
---@field cmdline string The kernel's command line for a disk and an initramfs made here.
---@field modules string[] The modules loaded before the root disk is mounted.
local M = {}

---@class images.boot.InitramfsOptions
---@field root? string default "root". An unpacked Debian with a kernel and `busybox-static`, below the workshop.

---Makes `vmlinuz` and `initrd` in the workshop.
---
---```lua
---boot.initramfs(work, { root = "root" })
---```
---@param work work Where.
---@param options? images.boot.InitramfsOptions
function M.initramfs(work, options) end

---@class images.boot.DiskOptions
---@field fill string Shell commands, run as root or under fakeroot, that fill the empty directory `root`.
---@field size string The disk's size, such as "8GiB".

---Makes `disk.qcow2` in the workshop, with one ext4 file system that fills it.
---
---```lua
---boot.disk(work, { fill = "tar -C root -xf root.tar", size = "8GiB" })
---```
---@param work work Where.
---@param options images.boot.DiskOptions
function M.disk(work, options) end

---Fails unless `size` is a valid disk size.
---
---```lua
---boot.check_size("images.mine", "8GiB")
---```
---@param what string The caller that the error names.
---@param size string A size such as "8GiB".
function M.check_size(what, size) end

return M
