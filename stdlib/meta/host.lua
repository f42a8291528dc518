---@meta _
-- Written by `snaptree stubs`. What a script reads from the host.

---Reads files and variables of the host. They are inputs of a step: if a change makes the step put something else into
---the guest, it is rebuilt, and the explanation names the file.
---@class host
host = {}

---Returns a file's content.
---
---```lua
---guest:write("/etc/my.cnf", host.read("conf/my.cnf"))
---```
---@param path string A file on the host, relative to the directory in which snaptree was started.
---@return string
function host.read(path) end

---Returns an environment variable; without a default, an unset variable is an error.
---
---```lua
---local mirror = host.env("MIRROR", "http://deb.debian.org/debian")
---```
---@param name string The variable's name.
---@param default? string The value if it is not set.
---@return string
function host.env(name, default) end

---Lists the files that match, sorted by name: `*` is any text without `/`, `?` is one character. As in a shell, only a
---pattern that begins with a dot matches hidden files.
---
---```lua
---for _, path in ipairs(host.glob("conf/*.cnf")) do guest:push(path, "/etc/mysql/" .. path:match("[^/]+$")) end
---```
---@param pattern string A pattern such as "conf/*.cnf".
---@return string[]
function host.glob(pattern) end
