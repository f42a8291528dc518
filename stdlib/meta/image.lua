---@meta _
-- Written by `snaptree stubs`. Images: where a machine's disk comes from.

---Where images come from. Debian and a tiny system are modules: `images.debian` and `images.tiny`.
---@class images
image = {}

---@class image.FileOptions
---@field sha256? string The checksum that the file must have, in hex.

---Describes a qcow2 or raw file, with the guest agent in it.
---
---```lua
---local vm = machine("lab", { image = image.file("disk.qcow2") })
---```
---@param path string A file of the host, relative to the directory in which snaptree was started.
---@param options? image.FileOptions
---@return image
function image.file(path, options) end

---@class image.UrlOptions
---@field sha256 string The checksum, in hex; whoever publishes the image publishes it.

---Describes a download, which is fetched when a machine first needs it.
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
