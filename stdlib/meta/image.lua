---@meta _
-- Written by `snaptree stubs`. Images: where a machine's disk comes from.

---Where images come from. Debian and a tiny system are modules: `images.debian` and `images.tiny`.
---@class images
image = {}

---@class image.FileOptions
---@field sha256? string The checksum of the file as it is, packed or not, in hex.
---@field format? "raw"|"qcow2"|"vdi"|"vmdk"|"vhd"|"vpc"|"vhdx"|"qed" default what the content tells. The format of the disk in it; "raw" takes the bytes as they are.
---@field max_size? string default "1GiB", or 500 times the file's size where that is more. How large the disk may get when it is unpacked.

---Describes a disk image that contains the guest agent: raw, qcow2, VDI, VMDK, VHD, VHDX or QED. It may be packed with
---gzip, xz, zstd or bzip2, or be the only disk in an OVA or another tar archive. Unpacked and converted images are kept
---in the cache.
---
---```lua
---local vm = machine("lab", { image = image.file("disk.qcow2") })
---local old = machine("old", { image = image.file("appliance.ova", { max_size = "40GiB" }) })
---```
---@param path string A file on the host, relative to the directory in which snaptree was started.
---@param options? image.FileOptions
---@return image
function image.file(path, options) end

---@class image.UrlOptions
---@field sha256 string The checksum of the file as published, in hex; the image's publisher lists it.
---@field format? "raw"|"qcow2"|"vdi"|"vmdk"|"vhd"|"vpc"|"vhdx"|"qed" default what the content tells. The format of the disk in it; "raw" takes the bytes as they are.
---@field max_size? string default "1GiB", or 500 times the file's size where that is more. How large the disk may get when it is unpacked.

---Describes an image to download when a machine first needs it. It may be packed as for `image.file`.
---
---```lua
---local vm = machine("lab", { image = image.url("https://example.org/disk.qcow2", { sha256 = "9f86d0..." }) })
---```
---@param url string Its URL.
---@param options image.UrlOptions
---@return image
function image.url(url, options) end

---@class image.BuildOptions
---@field name string Its name in the cache.
---@field inputs table<string, any> Everything that determines what is built.
---@field cmdline? string The kernel's command line, for a direct kernel boot.
---@field expression? string The Lua expression that describes this image, for scripts that `.save` writes.
---@field build fun(work: work) Makes `disk.qcow2`, and `vmlinuz` and `initrd` for a direct kernel boot, in `work.dir`.

---Describes an image of your own, which is built on the host when a machine first needs it. snaptree identifies it by
---its `name`, `inputs` and `cmdline`.
---
---```lua
---local mine = image.build {
---  name = "mine",
---  inputs = { release = 7 },
---  build = function(work) work:run "./make-image.sh 7 disk.qcow2" end,
---}
---```
---@param options image.BuildOptions
---@return image
function image.build(options) end

---A description of a disk that a machine starts with. The disk is built or downloaded when it is first needed.
---@class image
---@field name string Its name in the cache.
---@field digest string The digest that identifies it.
local Image = {}

---The directory on the host in which the `build` function of `image.build` works.
---@class work
---@field dir string Its path.
local Work = {}

---@class work.RunOptions
---@field stdin? string The command's input; any bytes.
---@field env? table<string, string|integer> Environment variables.

---Runs a command on the host in `work.dir` and returns its output.
---
---```lua
---work:run({ "qemu-img", "convert", "-O", "qcow2", "disk.raw", "disk.qcow2" })
---```
---@param command string|string[] A line for the shell, or a list of words.
---@param options? work.RunOptions
---@return string
function Work:run(command, options) end

---@class work.WriteOptions
---@field mode? string default "0644". Permissions as octal text.

---Writes a file in `work.dir`.
---
---```lua
---work:write("files/etc/motd", "hello\n")
---```
---@param name string Its path in `work.dir`.
---@param text string Its content; any bytes.
---@param options? work.WriteOptions
function Work:write(name, text, options) end
