---@meta _
-- Written by `snaptree stubs`. Snapshots: those that a script grew and those that it found.

---A snapshot of a machine, by name. It is what `root` and `branch` return, and what `snapshot`, `snapshots`, `find`
---and `current` find. Every field and call looks at the domain as it is now. Branches grow from any of them.
---@class snapshot
---@field name string Its name.
---@field machine machine Its machine.
---@field parent? snapshot Its parent; nil for a root.
---@field comment string The text that it was given, or "".
---@field created integer When it was taken, in seconds since the epoch.
---@field state string The domain's state when it was taken, in libvirt's words; `disk-snapshot` for one that was taken with `disk_only` while the guest ran.
---@field kind "external"|"internal" How it is held.
---@field live boolean Whether it has RAM, so that a revert resumes the guest.
---@field size integer What its own files take on the host's disk, in bytes: layers and RAM, without what they stand on.
---@field disks snapshot.Disk[] A table for each disk.
---@field memory? string The file with the RAM of an external snapshot or a live branch, or nil.
---@field xml string libvirt's description (`virDomainSnapshotGetXMLDesc`).
local Snapshot = {}

---@class snapshot.Disk
---@field target string Its name in the guest, such as `vda`.
---@field kind? "external"|"internal" How the snapshot holds it; nil when it was left out.
---@field file? string The file that it had then; nil when it is no file.
---@field overlay? string The file that the domain went on writing to, or nil.
---@field chain snapshot.Image[] The backing chain, `file` first.

---@class snapshot.Image
---@field path string The file.
---@field size? integer In bytes on the host's disk; nil when it is missing.

---@class snapshot.BranchOptions
---@field comment? string default "". Any text.
---@field live? boolean default where the host can. Whether the snapshot has the guest's RAM, so that forks and branches go on where the step ended instead of booting; with true it is an error where the host cannot.
---@field inputs? table<string, string|number|boolean> What the step depends on that no operation shows, by name; when one changes, the branch is built again.
---@field max_age? string|number How old the snapshot may be, such as "7d"; an older one is built anew.
---@field timeout? string|number How long the whole step may take, once its builder has booted.
---@field resume? boolean default true. Whether a build may go on from what an earlier build of this branch has done.
---@field keep_failed? boolean default as `run --on-error` says. Whether what is left of the step is kept when it fails.

---Returns the child of this name, which the step makes in a clone of this snapshot. It is built only when it is not
---there yet, or when the step does something else than the one that made it.
---
---```lua
---local db = sn01:branch("mariadb", function(guest)
---  require("mariadb").install(guest)
---end, { comment = "fresh server", timeout = "20m" })
---```
---@param name string The snapshot's name; each in a tree is used once.
---@param step fun(guest: guest) What makes it. It is known by its operations.
---@param options? snapshot.BranchOptions
---@return snapshot
function Snapshot:branch(name, step, options) end

---Makes several children at the same time and returns them by name. When some fail, the others are finished and all
---failures reported together.
---
---```lua
---local made = sn01:branches {
---  web = function(guest) guest:run "apt-get install -y nginx" end,
---  db = function(guest) require("mariadb").install(guest) end,
---}
---print(made.web, made.db)
---```
---@param steps table<string, fun(guest: guest)> The steps, by the names of the snapshots.
---@return table<string, snapshot>
function Snapshot:branches(steps) end

---@class snapshot.ForkOptions
---@field require_live? boolean default false. It is an error when the guest would have to boot.
---@field identity? "same"|"new" default "same". With "new" its system gets a machine id, a host name and SSH host keys of its own, and asks for a new DHCP lease.

---Starts a throw-away running clone of the snapshot, with a disk of its own, and waits until its guest answers. That
---of a live snapshot goes on where the snapshot's guest was; that of one without RAM boots.
---
---```lua
---local db <close> = snap:fork() -- gone when it leaves its scope, or with the script
---print(db:run("uptime").stdout)
---```
---@param options? snapshot.ForkOptions
---@return fork
function Snapshot:fork(options) end

---Starts several forks at the same time.
---
---```lua
---for _, fork in ipairs(snap:forks(8, { identity = "new" })) do print(fork.name) end
---```
---@param n integer How many.
---@param options? snapshot.ForkOptions
---@return fork[]
function Snapshot:forks(n, options) end

---Returns its children, by name (`virDomainSnapshotListAllChildren`).
---
---```lua
---print(#snap:children())
---```
---@return snapshot[]
function Snapshot:children() end

---Says whether it is the current one (`virDomainSnapshotIsCurrent`).
---
---```lua
---if not snap:is_current() then snap:revert() end
---```
---@return boolean
function Snapshot:is_current() end

---@class snapshot.RevertOptions
---@field running? boolean default false. The guest runs afterwards, whatever the snapshot says; excludes `paused` (`RUNNING`).
---@field paused? boolean default false. The guest is paused afterwards, whatever the snapshot says (`PAUSED`).
---@field force? boolean default false. Also where the running QEMU does not fit (`FORCE`).
---@field reset_nvram? boolean default false. The firmware's variables are made anew from their template (`RESET_NVRAM`).

---Goes back to it, without asking; what the machine was before is kept for `machine:undo`. An internal one is
---`virDomainRevertToSnapshot`; an external one gets new overlays.
---
---```lua
---snap:revert { running = true }
---```
---@param options? snapshot.RevertOptions
function Snapshot:revert(options) end

---@class snapshot.DeleteOptions
---@field children? boolean default false. It and all below it (`CHILDREN`); else its children move to its parent.
---@field children_only? boolean default false. All below it; excludes `children` (`CHILDREN_ONLY`).
---@field metadata_only? boolean default false. Out of libvirt's tree only; the files stay for good (`METADATA_ONLY`).

---Deletes it, without asking, and returns the names of what went; kept for `machine:undo` (`virDomainSnapshotDelete`).
---
---```lua
---print(table.concat(snap:delete { children = true }, ", "))
---```
---@param options? snapshot.DeleteOptions
---@return string[]
function Snapshot:delete(options) end
