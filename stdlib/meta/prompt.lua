---@meta _
-- Never written by `snaptree stubs`: what exists only at the prompt.

---The guest of the working fork. Each line acts in it at once, also without a receiver: `run "uptime"`.
---@type guest
guest = nil

---Gives a working fork of a snapshot, in which each line acts at once. It replaces the one before.
---
---```lua
---use "db-lab/sn02"
---run "systemctl status mariadb"
---```
---@param where string|snapshot Which snapshot: "MACHINE/SNAPSHOT", or one that a variable holds.
---@return fork
function use(where) end

---Undoes the last operations in the working fork.
---
---```lua
---back(2)
---```
---@param n? integer How many; 1 without it.
function back(n) end

---@class prompt.SnapshotOptions
---@field comment? string default "". Any text.

---Keeps the present of the working fork as a branch of its snapshot. Its journal comes along, so that a step that
---does the same is that branch.
---
---```lua
---local sn03 = snapshot("sn03", { comment = "with the schema" })
---```
---@param name string The snapshot's name.
---@param options? prompt.SnapshotOptions
---@return snapshot
function snapshot(name, options) end

---Starts the working fork anew from its snapshot, or from another one.
---
---```lua
---revert()
---revert "db-lab/sn01"
---```
---@param where? string|snapshot Which snapshot: "MACHINE/SNAPSHOT"; the one in use without it.
---@return fork
function revert(where) end

---Undoes the last change of the machine's tree: a deletion or a revert. Returns what it was.
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
---@param machine? string|machine Which machine; the one in use without it.
function tree(machine) end

---Explains a function, a type, a module or a value. Without an argument it lists what there is.
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
---@param x any What to print.
function show(x) end

---Runs the step that failed again, from its parent. Only after `run --on-error repl`.
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

---Replaces a file of the working fork, as `guest:write` does.
---
---```lua
---write("/etc/motd", "hello\n")
---```
---@param path string A file of the guest.
---@param text string Its new content; any bytes.
---@param options? guest.WriteOptions
function write(path, text, options) end

---Returns the content of a file of the working fork, as `guest:read` does.
---
---```lua
---read "/etc/hosts"
---```
---@param path string A file of the guest.
---@param options? guest.ReadOptions
---@return string
function read(path, options) end

---Copies a file of the host into the working fork, as `guest:push` does.
---
---```lua
---push("dump.sql", "/root/dump.sql")
---```
---@param host_path string A file of the host.
---@param path string The file of the guest, which is replaced.
---@param options? guest.PushOptions
function push(host_path, path, options) end

---Copies a file of the working fork to the host, as `guest:pull` does.
---
---```lua
---pull("/var/log/syslog", "syslog.txt")
---```
---@param path string A file of the guest.
---@param host_path string The file of the host, which is replaced.
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
---@param path string A path of the guest.
---@param options? guest.WaitOptions
function wait_for_file(path, options) end

---Runs a command in the working fork until its status is 0, as `guest:wait_until_succeeds` does.
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

---Writes what is in the working fork's memory to its disks, as `guest:sync` does.
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

---Returns what is known of the working fork's operating system, as `guest:info` does.
---
---```lua
---print(info().version_id)
---```
---@return table<string, string>
function info() end
