---@meta _
-- Written by `snaptree stubs`. What a script reads of the host.

---What a script reads of the host. It is input like everything else: a step is built again when it puts something
---else into the guest because of it, and the explanation names the file.
---@class host
host = {}

---Returns a file's content.
---
---```lua
---guest:write("/etc/my.cnf", host.read("conf/my.cnf"))
---```
---@param path string A file of the host, relative to the directory in which snaptree was started.
---@return string
function host.read(path) end

---Returns a variable of the environment; without a default it is an error when it is not set.
---
---```lua
---local mirror = host.env("MIRROR", "http://deb.debian.org/debian")
---```
---@param name string The variable's name.
---@param default? string What it is when it is not set.
---@return string
function host.env(name, default) end

---Lists the files that match, in the order of their names: `*` is any text without `/`, `?` one character. As in a
---shell, a hidden file is only found by a pattern that begins with a dot.
---
---```lua
---for _, path in ipairs(host.glob("conf/*.cnf")) do guest:push(path, "/etc/mysql/" .. path:match("[^/]+$")) end
---```
---@param pattern string Such as "conf/*.cnf".
---@return string[]
function host.glob(pattern) end
