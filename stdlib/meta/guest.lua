---@meta _
-- Written by `snaptree stubs`. Guests: the system inside a builder, a fork or a running machine.

---The system inside a machine, reached through the QEMU guest agent. A step gets one, and `machine:guest` returns one.
---Every call waits until it is done and raises an error if it fails. Paths in the guest are absolute; paths on the host
---are relative to the directory in which snaptree was started.
---@class guest
local Guest = {}

---@class guest.RunOptions
---@field check? boolean default true. Whether a status other than 0 is an error.
---@field stdin? string The command's input; any bytes.
---@field env? table<string, string|integer> Environment variables.
---@field cwd? string The directory that it starts in.
---@field user? string The user that it runs as.
---@field timeout? string|number default "1h". How long it may take: "90s", "10m", or seconds.
---@field retry_on? string|string[] Repeat it, until `timeout`, if it fails and a printed line contains this text.

---@class guest.Result
---@field status integer The exit status.
---@field ok boolean Whether the status is 0.
---@field stdout string Its standard output.
---@field stderr string Its standard error.

---Runs a command: a line with `/bin/sh -c`, or a list of words without a shell.
---
---```lua
---local version = guest:run("mariadb --version").stdout
---guest:run({ "grep", "-q", word, "/etc/passwd" }, { check = false, timeout = "10s" })
---```
---@param command string|string[] A line for the shell, or a list of words.
---@param options? guest.RunOptions
---@return guest.Result
function Guest:run(command, options) end

---@class guest.WriteOptions
---@field mode? string Permissions as octal text, such as "0644".
---@field owner? string "user" or "user:group".
---@field timeout? string|number default "5m". How long it may take.

---Writes a file in the guest, replacing an existing one.
---
---```lua
---guest:write("/etc/motd", "hello\n", { mode = "0644", owner = "root:root" })
---```
---@param path string A file of the guest.
---@param text string Its new content; any bytes.
---@param options? guest.WriteOptions
function Guest:write(path, text, options) end

---@class guest.ReadOptions
---@field timeout? string|number default "5m". How long it may take.

---Returns the content of a file in the guest.
---
---```lua
---local hosts = guest:read("/etc/hosts")
---```
---@param path string A file of the guest.
---@param options? guest.ReadOptions
---@return string
function Guest:read(path, options) end

---@class guest.PushOptions
---@field mode? string default 0755 for an executable file, else 0644. Of a file: permissions as octal text.
---@field owner? string "user" or "user:group"; of a directory, everything in it. Default: root.
---@field preserve? boolean default false. Of a directory: keep the modes and, by their numbers, the owners, as `cp -a` does.
---@field exclude? string|string[] Of a directory: patterns of what is left out, as in a `.gitignore`.
---@field timeout? string|number default "1h". How long it may take.

---Copies a file or a directory from the host into the guest.
---
---A directory's content is merged into one that is there, as `cp -r source/. target/` does; a missing one is made. Links
---stay links; empty directories, hard links, times and holes are kept. Modes are 0755 or 0644, as in git. Devices, sockets
---and named pipes are refused. Times and the path on the host rebuild nothing.
---
---A pattern in `exclude` without a slash matches a name in any directory; one with a slash is a path from the top, and one
---that ends in a slash matches directories only. `*` and `?` match no slash, `**` any directories.
---
---```lua
---guest:push("dump.sql", "/root/dump.sql")
---guest:push("app", "/srv/app", { owner = "www-data", exclude = { ".git", "*.o" } })
---```
---@param host_path string A file or a directory on the host.
---@param path string The file in the guest, which is replaced, or the directory.
---@param options? guest.PushOptions
function Guest:push(host_path, path, options) end

---@class guest.PullOptions
---@field preserve? boolean default false. Of a directory: keep the modes and, if you are root, the owners.
---@field exclude? string|string[] Of a directory: patterns of what is left out, as for `guest:push`.
---@field timeout? string|number default "1h". How long it may take.

---Copies a file or a directory from the guest to the host.
---
---A directory's content is merged into one that is there; a missing one is made. Nothing is written outside of it. A cached
---step writes what its journal kept, which is up to 1 MiB, and is rebuilt if more than that is no longer on the host.
---
---```lua
---guest:pull("/var/log/syslog", "syslog.txt")
---guest:pull("/etc/nginx", "nginx", { exclude = "*.bak" })
---```
---@param path string A file or a directory of the guest.
---@param host_path string The file on the host, which is replaced, or the directory.
---@param options? guest.PullOptions
function Guest:pull(path, host_path, options) end

---@class guest.SyncDirOptions
---@field delete? boolean default false. Delete what the host's directory does not have, apart from what is excluded.
---@field exclude? string|string[] Patterns of what is left alone, as for `guest:push`.
---@field timeout? string|number default "1h". How long it may take.

---Makes a directory in the guest the same as one on the host, by sending only what differs.
---
---Files are compared by size, mode and time. The result is that of `guest:push`, and all of it belongs to root.
---
---```lua
---guest:sync_dir("app", "/srv/app", { delete = true, exclude = { ".git", "/cache" } })
---```
---@param host_path string A directory on the host.
---@param path string The directory in the guest, which is made if it is missing.
---@param options? guest.SyncDirOptions
function Guest:sync_dir(host_path, path, options) end

---@class guest.WaitOptions
---@field timeout? string|number default "5m". How long to wait.

---Waits until systemd reports the unit as active; a failed unit is an error with the end of its log.
---
---```lua
---guest:wait_for_unit("mariadb.service", { timeout = "2m" })
---```
---@param name string The unit's name.
---@param options? guest.WaitOptions
function Guest:wait_for_unit(name, options) end

---Waits until something listens on the TCP port in the guest.
---
---```lua
---guest:wait_for_port(3306)
---```
---@param port integer From 1 to 65535.
---@param options? guest.WaitOptions
function Guest:wait_for_port(port, options) end

---Waits until the path exists in the guest.
---
---```lua
---guest:wait_for_file("/run/mysqld/mysqld.sock")
---```
---@param path string A path in the guest.
---@param options? guest.WaitOptions
function Guest:wait_for_file(path, options) end

---Runs a command repeatedly until its status is 0.
---
---```lua
---guest:wait_until_succeeds("mariadb -e 'select 1'", { timeout = "1m" })
---```
---@param command string|string[] A line for the shell, or a list of words.
---@param options? guest.WaitOptions
function Guest:wait_until_succeeds(command, options) end

---@class guest.ExpectOptions
---@field timeout? string|number default "5m". How long to wait.

---Waits until what the serial console printed since the last match matches a regular expression; `$` is the end of what
---has come so far. Matches text without escape sequences, whose lines end in `\n`. Returns the captures, or the whole
---match if there are none. The console is opened by its first use and stays open as long as the guest's handle: what was
---printed before is lost. It needs no guest agent.
---
---```lua
---dom:start { paused = true }
---local guest = dom:guest()
---guest:screen()                    -- opens the console, so that no line of the boot is lost
---dom:resume()
---guest:expect("login: $", { timeout = "2m" })
---```
---@param pattern string A regular expression of Rust's `regex`.
---@param options? guest.ExpectOptions
---@return string? ...
function Guest:expect(pattern, options) end

---Types a text into the serial console. It ends no line by itself: add `\n`.
---
---```lua
---guest:send("root\n")
---```
---@param text string UTF-8, with control characters such as "\3" for Ctrl-C.
function Guest:send(text) end

---Returns the visible text of the serial console: at most 24 rows of 80 columns, of what was printed since it was opened.
---
---```lua
---print(guest:screen())
---```
---@return string
function Guest:screen() end

---Restarts the system and waits until it answers.
---
---```lua
---guest:reboot { timeout = "10m" }
---```
---@param options? guest.WaitOptions
function Guest:reboot(options) end

---Flushes cached writes to the disks.
---
---```lua
---guest:sync()
---```
---@param options? guest.WaitOptions
function Guest:sync(options) end

---Returns the guest's clock, in seconds since the epoch.
---
---```lua
---print(os.date("!%c", guest:time()))
---```
---@return integer
function Guest:time() end

---Returns what the guest agent reports about the operating system: `id`, `version_id`, `kernel`, ...
---
---```lua
---assert(guest:info().id == "debian")
---```
---@return table<string, string>
function Guest:info() end
