---@meta _
-- Never written by `snaptree stubs`: what exists only at the prompt.

---The guest of the working fork. Each line acts on it at once, even without a receiver: `run "uptime"`.
---@type guest
guest = nil

---Starts a working fork of a snapshot, on which each line acts at once. It replaces the previous one.
---
---```lua
---use "db-lab/sn02"
---run "systemctl status mariadb"
---```
---@param where string|snapshot The snapshot, or its name: "MACHINE/SNAPSHOT".
---@return fork
function use(where) end

---Undoes the last operations in the working fork.
---
---```lua
---back(2)
---```
---@param n? integer default 1. How many.
function back(n) end

---@class prompt.SnapshotOptions
---@field comment? string default "". Any text.

---Adds the present state of the working fork to the tree, as a branch of its snapshot with the recorded operations. A
---step with the same operations reuses that branch.
---
---```lua
---local sn03 = snapshot("sn03", { comment = "with the schema" })
---```
---@param name string The snapshot's name.
---@param options? prompt.SnapshotOptions
---@return snapshot
function snapshot(name, options) end

---Restarts the working fork from its snapshot, or from another one.
---
---```lua
---revert()
---revert "db-lab/sn01"
---```
---@param where? string|snapshot default the one in use. The snapshot, or its name: "MACHINE/SNAPSHOT".
---@return fork
function revert(where) end

---Undoes the last change to the machine's tree: a deletion or a revert. Returns what it was.
---
---```lua
---undo()
---```
---@return string
function undo() end

---Draws the tree of the machine in use, or of the named one.
---
---```lua
---tree "db-lab"
---```
---@param machine? string|machine default the one in use. The machine, or its name.
function tree(machine) end

---Explains a function, a type, a module or a value. Without an argument, it lists everything.
---
---```lua
---help "snapshot:branch"
---help(require "mariadb")
---```
---@param x? any A name, or the thing itself.
function help(x) end

---Prints a value in full.
---
---```lua
---show(guest:info())
---```
---@param x any The value.
function show(x) end

---Runs the failed step again, from its parent. It works only after `run --on-error repl`.
---
---```lua
---retry()
---```
function retry() end

---Runs a command in the working fork, as `guest:run` does.
---
---```lua
---run "apt-get install -y nginx"
---```
---@param command string|string[] A line for the shell, or a list of words.
---@param options? guest.RunOptions
---@return guest.Result
function run(command, options) end

---Writes a file in the working fork, as `guest:write` does.
---
---```lua
---write("/etc/motd", "hello\n")
---```
---@param path string A file of the guest.
---@param text string Its new content; any bytes.
---@param options? guest.WriteOptions
function write(path, text, options) end

---Returns the content of a file in the working fork, as `guest:read` does.
---
---```lua
---read "/etc/hosts"
---```
---@param path string A file of the guest.
---@param options? guest.ReadOptions
---@return string
function read(path, options) end

---Copies a file from the host into the working fork, as `guest:push` does.
---
---```lua
---push("dump.sql", "/root/dump.sql")
---```
---@param host_path string A file on the host.
---@param path string The file in the guest, which is replaced.
---@param options? guest.PushOptions
function push(host_path, path, options) end

---Copies a file from the working fork to the host, as `guest:pull` does.
---
---```lua
---pull("/var/log/syslog", "syslog.txt")
---```
---@param path string A file of the guest.
---@param host_path string The file on the host, which is replaced.
---@param options? guest.PullOptions
function pull(path, host_path, options) end

---Waits until a unit of the working fork is active, as `guest:wait_for_unit` does.
---
---```lua
---wait_for_unit "mariadb.service"
---```
---@param name string The unit's name.
---@param options? guest.WaitOptions
function wait_for_unit(name, options) end

---Waits until something listens on a TCP port of the working fork, as `guest:wait_for_port` does.
---
---```lua
---wait_for_port(3306)
---```
---@param port integer From 1 to 65535.
---@param options? guest.WaitOptions
function wait_for_port(port, options) end

---Waits until a path exists in the working fork, as `guest:wait_for_file` does.
---
---```lua
---wait_for_file "/run/mysqld/mysqld.sock"
---```
---@param path string A path in the guest.
---@param options? guest.WaitOptions
function wait_for_file(path, options) end

---Runs a command in the working fork repeatedly until its status is 0, as `guest:wait_until_succeeds` does.
---
---```lua
---wait_until_succeeds "mariadb -e 'select 1'"
---```
---@param command string|string[] A line for the shell, or a list of words.
---@param options? guest.WaitOptions
function wait_until_succeeds(command, options) end

---Restarts the system of the working fork, as `guest:reboot` does.
---
---```lua
---reboot()
---```
---@param options? guest.WaitOptions
function reboot(options) end

---Flushes the working fork's cached writes to its disks, as `guest:sync` does.
---
---```lua
---sync()
---```
---@param options? guest.WaitOptions
function sync(options) end

---Returns the working fork's clock, in seconds since the epoch, as `guest:time` does.
---
---```lua
---os.date("!%c", time())
---```
---@return integer
function time() end

---Returns what the guest agent reports about the working fork's operating system, as `guest:info` does.
---
---```lua
---print(info().version_id)
---```
---@return table<string, string>
function info() end
