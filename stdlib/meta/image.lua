---@meta _
-- Written by `snaptree stubs`. Images: where a machine's disk comes from.

---Where images come from. Debian and a tiny system are modules: `images.debian` and `images.tiny`.
---@class images
image = {}

---@class image.FileOptions
---@field sha256? string The checksum that the file must have as it is, packed or not, in hex.
---@field format? "raw"|"qcow2"|"vdi"|"vmdk"|"vhd"|"vpc"|"vhdx"|"qed" default what the content tells. The format of the disk in it; "raw" takes the bytes as they are.
---@field max_size? string default "1GiB", or 500 times the file's size where that is more. How large the disk may get when it is unpacked.

---Describes a disk image, with the guest agent in it: raw, qcow2, VDI, VMDK, VHD, VHDX or QED, also packed with gzip,
---xz, zstd or bzip2, or as the one disk in an OVA or another tar archive. What has to be unpacked or converted is
---kept in the cache.
---
---```lua
---local vm = machine("lab", { image = image.file("disk.qcow2") })
---local old = machine("old", { image = image.file("appliance.ova", { max_size = "40GiB" }) })
---```
---@param path string A file of the host, relative to the directory in which snaptree was started.
---@param options? image.FileOptions
---@return image
function image.file(path, options) end

---@class image.UrlOptions
---@field sha256 string The checksum of the file as it is published, in hex; whoever publishes the image publishes it.
---@field format? "raw"|"qcow2"|"vdi"|"vmdk"|"vhd"|"vpc"|"vhdx"|"qed" default what the content tells. The format of the disk in it; "raw" takes the bytes as they are.
---@field max_size? string default "1GiB", or 500 times the file's size where that is more. How large the disk may get when it is unpacked.

---Describes a download, which is fetched when a machine first needs it. It may be packed as `image.file` says.
---
---```lua
---local vm = machine("lab", { image = image.url("https://example.org/disk.qcow2", { sha256 = "9f86d0..." }) })
---```
---@param url string Where it is.
---@param options image.UrlOptions
---@return image
function image.url(url, options) end

---@class image.BuildOptions
---@field name string What it is called in the cache.
---@field inputs table<string, any> All that decides what is built.
---@field cmdline? string The kernel's command line, for a direct kernel boot.
---@field expression? string What a script says to have this image, for scripts that `.save` writes.
---@field build fun(work: work) Leaves `disk.qcow2`, and `vmlinuz` and `initrd` for a direct kernel boot, in `work.dir`.

---Describes an image of your own, which is built on the host when a machine first needs it. It is known by its
---`name`, `inputs` and `cmdline`.
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

---A disk that a machine begins with. It is a description, which is built or fetched when it is first needed.
---@class image
---@field name string What it is called in the cache.
---@field digest string What decides which image it is.
local Image = {}

---The directory of the host in which the `build` function of `image.build` works.
---@class work
---@field dir string Its path.
local Work = {}

---@class work.RunOptions
---@field stdin? string What the command reads; any bytes.
---@field env? table<string, string|integer> Variables of its environment.

---Runs a command of the host in `work.dir` and returns its output.
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
