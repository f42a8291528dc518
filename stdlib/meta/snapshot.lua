---@meta _
-- Written by `snaptree stubs`. Snapshots: those that a script built and those that it found.

---A snapshot of a machine, by name. It is what `root` and `branch` return, and what `snapshot`, `snapshots`, `find`
---and `current` find. Every field and call looks at the domain as it is now. Branches grow from any of them.
---@class snapshot
---@field name string Its name.
---@field machine machine Its machine.
---@field parent? snapshot Its parent; nil for a root.
---@field comment string Its comment, or "".
---@field created integer When it was taken, in seconds since the epoch.
---@field state string The domain's state when it was taken, as libvirt names it; `disk-snapshot` if it was taken with `disk_only` while the guest ran.
---@field kind "external"|"internal" How it is stored.
---@field live boolean Whether it contains RAM, so that a revert resumes the guest.
---@field size integer The size of its own files on the host's disk, in bytes: layers and RAM, without backing layers.
---@field disks snapshot.Disk[] Its disks.
---@field memory? string The file with the RAM of an external snapshot or a live branch, or nil.
---@field xml string libvirt's description (`virDomainSnapshotGetXMLDesc`).
local Snapshot = {}

---@class snapshot.Disk
---@field target string Its name in the guest, such as `vda`.
---@field kind? "external"|"internal" How the snapshot stores it; nil if it was excluded.
---@field file? string Its file at that time; nil if it was not a file.
---@field overlay? string The file that the domain wrote to afterwards, or nil.
---@field chain snapshot.Image[] The backing chain, `file` first.

---@class snapshot.Image
---@field path string The file.
---@field size? integer Its size on the host's disk, in bytes; nil if it is missing.

---@class snapshot.BranchOptions
---@field comment? string default "". Any text.
---@field live? boolean default where the host can. Whether the snapshot contains the guest's RAM, so that forks and branches resume where the step ended instead of booting; true is an error if the host cannot.
---@field inputs? table<string, string|number|boolean> Inputs of the step that no operation shows, by name; if one changes, the branch is rebuilt.
---@field max_age? string|number The maximum age of the snapshot, such as "7d"; an older one is rebuilt.
---@field timeout? string|number How long the whole step may take, once its builder has booted.
---@field resume? boolean default true. Whether a build may resume from an earlier build of this branch.
---@field keep_failed? boolean default as `run --on-error` says. Whether a failed step is kept.

---Returns the child of this name, which the step builds in a clone of this snapshot. It is built only if it does not
---exist yet, or if the step does something different from the one that built it.
---
---```lua
---local db = sn01:branch("mariadb", function(guest)
---  require("mariadb").install(guest)
---end, { comment = "fresh server", timeout = "20m" })
---```
---@param name string The snapshot's name, unique in its tree.
---@param step fun(guest: guest) The function that builds it. snaptree identifies it by its operations.
---@param options? snapshot.BranchOptions
---@return snapshot
function Snapshot:branch(name, step, options) end

---Builds several children at the same time and returns them by name. If some fail, the others still finish, and all
---failures are reported together.
---
---```lua
---local made = sn01:branches {
---  web = function(guest) guest:run "apt-get install -y nginx" end,
---  db = function(guest) require("mariadb").install(guest) end,
---}
---print(made.web, made.db)
---```
---@param steps table<string, fun(guest: guest)> The steps, by snapshot name.
---@return table<string, snapshot>
function Snapshot:branches(steps) end

---@class snapshot.ForkOptions
---@field require_live? boolean default false. Fail if the guest would have to boot.
---@field keep_connections? boolean default false. Keep TCP connections that the guest had open to something outside of it; otherwise they are reset, since nothing outside knows of them any more.
---@field identity? "same"|"new" default "same". With "new", the guest gets its own machine id, host name and SSH host keys, and asks for a new DHCP lease.

---Starts a throw-away running clone of the snapshot, with a disk of its own, and waits until its guest answers. A fork
---of a live snapshot resumes where the snapshot's guest was; a fork of one without RAM boots.
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
---@field running? boolean default false. Run the guest afterwards, whatever its state in the snapshot; excludes `paused` (`RUNNING`).
---@field paused? boolean default false. Pause the guest afterwards, whatever its state in the snapshot (`PAUSED`).
---@field force? boolean default false. Revert even if the running QEMU does not match (`FORCE`).
---@field reset_nvram? boolean default false. Reset the firmware's variables to their template (`RESET_NVRAM`).

---Reverts the machine to it, without confirmation; the previous state is kept for `machine:undo`. For an internal one
---it calls `virDomainRevertToSnapshot`; for an external one it creates new overlays.
---
---```lua
---snap:revert { running = true }
---```
---@param options? snapshot.RevertOptions
function Snapshot:revert(options) end

---@class snapshot.DeleteOptions
---@field children? boolean default false. Delete it and all below it (`CHILDREN`); otherwise its children move to its parent.
---@field children_only? boolean default false. Delete only what is below it; excludes `children` (`CHILDREN_ONLY`).
---@field metadata_only? boolean default false. Remove it from libvirt's metadata only; its files stay for good (`METADATA_ONLY`).

---Deletes it, without confirmation, and returns the deleted names; `machine:undo` restores them
---(`virDomainSnapshotDelete`).
---
---```lua
---print(table.concat(snap:delete { children = true }, ", "))
---```
---@param options? snapshot.DeleteOptions
---@return string[]
function Snapshot:delete(options) end
