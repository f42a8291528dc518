---@meta _
-- Written by `snaptree stubs`. Machines: `machine` and what it returns.

---Declares a domain that owns a tree. It does not create it yet: `machine:root` does.
---
---```lua
---local vm = machine("kvm_debian12", { image = require "images.debian" {}, memory = "1GiB", cpus = 2 })
---```
---@class machines
---@overload fun(name: string, options: machine.Options): machine
machine = {}

---@class machine.Options
---@field image image The disk to start from: `image.file`, `image.url`, `image.build`, `images.debian`.
---@field memory? string default "1GiB". A size with its unit, such as "512MiB"; 64 MiB at least.
---@field cpus? integer default 1. Virtual CPUs.
---@field disk? string default the image's own. The size of the disk, such as "20GiB"; larger than the image, not smaller.
---@field cpu_model? string default the host's with KVM, else the most that QEMU emulates. A CPU model that libvirt knows.
---@field firmware? "bios"|"uefi" default "bios". The firmware of the machine.
---@field network? string default "user". QEMU's user networking; or "none", "network:NAME", "bridge:NAME".
---@field extra_xml? string XML for the domain's `<devices>`.

---Returns the machine of this name; fails if there is none (`virDomainLookupByName`).
---
---```lua
---local dom = machine.open("kvm_centos7")
---```
---@param name string The domain's name.
---@return machine
function machine.open(name) end

---Returns every machine of the connection, by name (`virConnectListAllDomains`).
---
---```lua
---for _, dom in ipairs(machine.list()) do print(dom, dom:state()) end
---```
---@return machine[]
function machine.list() end

---A machine: any domain of a connection, by name. Every field and call looks at the domain as it is now. Two handles of
---one domain are equal. Calls that change it act at once, each time the script runs.
---@class machine
---@field name string The domain's name.
---@field uuid string The domain's UUID.
local Machine = {}

---@class machine.RootOptions
---@field comment? string default "". Any text.

---Returns the snapshot that the tree grows from. For a declared machine it is the image, not yet started; for an opened
---one, the machine's present state while it is shut off.
---
---```lua
---local sn01 = vm:root("sn01", { comment = "as installed" })
---```
---@param name string The snapshot's name.
---@param options? machine.RootOptions
---@return snapshot
function Machine:root(name, options) end

---Grows a branch from the present state of an opened machine that is shut off. That state becomes a root named `root`.
---A declared machine has no `branch`; its snapshots do.
---
---```lua
---machine.open("kvm_centos7"):branch("patched", function(guest) guest:run "yum -y update" end)
---```
---@param name string The snapshot's name.
---@param step fun(guest: guest) The function that builds it.
---@param options? snapshot.BranchOptions
---@return snapshot
function Machine:branch(name, step, options) end

---@class machine.SnapshotOptions
---@field comment? string default "". Any text (`<description>`).
---@field kind? "external"|"internal" default "external". External: the disk's file stays unchanged and the guest continues in an overlay. Internal: inside the qcow2 file.
---@field memory? boolean|string default true when the guest runs, unless `disk_only`. Whether the snapshot contains its RAM; a file name puts it there instead of beside the first disk (`<memory>`).
---@field disks? table<string, boolean|string> default as the domain says. By target: false excludes a disk, a file name is its overlay, which otherwise is made beside the disk (`<disk>`).
---@field disk_only? boolean default false. Omit the RAM of a running guest, as after a power cut; excludes `memory` and `live` (`DISK_ONLY`).
---@field atomic? boolean default false. Take all disks or, if one fails, none (`ATOMIC`).
---@field quiesce? boolean default false. Let the guest agent freeze the file systems meanwhile (`QUIESCE`).
---@field halt? boolean default false. Stop the guest after the snapshot (`HALT`).
---@field live? boolean default false. Keep the guest running while its RAM is saved (`LIVE`).
---@field reuse_external? boolean default false. Use existing overlays (`REUSE_EXT`).

---Takes a snapshot, which becomes the current one (`virDomainSnapshotCreateXML`). File names are relative to the
---directory in which snaptree was started.
---
---```lua
---local snap = dom:snapshot("before", { comment = "before the upgrade", disk_only = true })
---```
---@param name string The snapshot's name.
---@param options? machine.SnapshotOptions
---@return snapshot
function Machine:snapshot(name, options) end

---@class machine.SnapshotsOptions
---@field roots? boolean default false. Only those without a parent; excludes `from` (`ROOTS`).
---@field leaves? boolean default false. Only those without children (`LEAVES`).
---@field no_leaves? boolean default false. Only those with children; excludes `leaves` (`NO_LEAVES`).
---@field kind? "external"|"internal" default both. Only those of this kind (`EXTERNAL`, `INTERNAL`).
---@field state? string|string[] default any. Only those taken in this state, or in one of several: "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended", "disk-snapshot".
---@field from? snapshot|string Only the children of this snapshot.
---@field descendants? boolean default false. With `from`: all snapshots below it (`DESCENDANTS`).
---@field topological? boolean Accepted for virsh compatibility; the order is always topological (`TOPOLOGICAL`).

---Lists snapshots, each parent before its children, siblings by name (`virDomainListAllSnapshots`). Each option
---narrows the list further.
---
---```lua
---for _, snap in ipairs(dom:snapshots { leaves = true }) do print(snap, snap.created) end
---```
---@param options? machine.SnapshotsOptions
---@return snapshot[]
function Machine:snapshots(options) end

---Returns the snapshot of this name, or nil.
---
---```lua
---local snap = dom:find("sn02") or error("no sn02")
---```
---@param name string The snapshot's name.
---@return snapshot?
function Machine:find(name) end

---Returns the current snapshot, or nil if there is none.
---
---```lua
---print(dom:current())
---```
---@return snapshot?
function Machine:current() end

---@class machine.Node
---@field name string The snapshot's name.
---@field current boolean Whether it is the current one.
---@field children machine.Node[] Its children.

---Returns the tree as tables: a list of roots, each with its children. `print` draws it.
---
---```lua
---print(dom:tree())
---```
---@return machine.Node[]
function Machine:tree() end

---Undoes the newest revert or deletion, or the one with this number; returns what it was. Calling it again undoes the
---undo.
---
---```lua
---print("undone: " .. dom:undo())
---```
---@param number? integer default the newest. A number that `machine:undos` lists.
---@return string
function Machine:undo(number) end

---@class machine.Undo
---@field number integer The number to pass to `machine:undo`.
---@field created integer In seconds since the epoch.
---@field what string What was done, such as `revert to sn02`.
---@field effect string What undoing it would do.

---Lists the changes that can be undone, the newest last.
---
---```lua
---for _, entry in ipairs(dom:undos()) do print(entry.number, entry.what) end
---```
---@return machine.Undo[]
function Machine:undos() end

---@class machine.StartOptions
---@field paused? boolean default false. Start with the guest's processors stopped (`START_PAUSED`).
---@field reset_nvram? boolean default false. Reset the firmware's variables to their template (`START_RESET_NVRAM`).

---Starts the machine; fails if it is running (`virDomainCreateWithFlags`).
---
---```lua
---dom:start { paused = true }
---```
---@param options? machine.StartOptions
function Machine:start(options) end

---@class machine.ShutdownOptions
---@field timeout? string|number default "5m". How long to wait until it is off.

---Asks the guest to power off and waits until it has (`virDomainShutdown`).
---
---```lua
---dom:shutdown { timeout = "2m" }
---```
---@param options? machine.ShutdownOptions
function Machine:shutdown(options) end

---Stops the machine at once, like pulling the plug; fails if it is not running (`virDomainDestroy`).
---
---```lua
---if dom:state() == "running" then dom:destroy() end
---```
function Machine:destroy() end

---Stops the guest's processors (`virDomainSuspend`).
---
---```lua
---dom:suspend()
---```
function Machine:suspend() end

---Resumes the guest's processors (`virDomainResume`).
---
---```lua
---dom:resume()
---```
function Machine:resume() end

---Returns the machine's state as libvirt names it: `running`, `blocked`, `paused`, `shutdown`, `shutoff`,
---`crashed` or `pmsuspended` (`virDomainGetState`).
---
---```lua
---assert(dom:state() == "shutoff")
---```
---@return string
function Machine:state() end

---Saves a screenshot of the first screen to a file on the host; returns its MIME type (`virDomainScreenshot`).
---
---```lua
---print(dom:screenshot("screen.ppm"))
---```
---@param path string A file on the host, relative to the directory in which snaptree was started.
---@return string
function Machine:screenshot(path) end

---@class machine.XmlOptions
---@field inactive? boolean default false. Return the XML that the next start will use (`INACTIVE`).

---Returns the domain's XML (`virDomainGetXMLDesc`).
---
---```lua
---local xml = dom:xml { inactive = true }
---```
---@param options? machine.XmlOptions
---@return string
function Machine:xml(options) end

---@class machine.GuestOptions
---@field timeout? string|number default "5m". How long an operation waits for a guest that boots.

---Returns the guest of the running machine itself, which may still boot or be paused. Its operations act on the machine
---at once and are not recorded.
---
---```lua
---print(dom:guest():run("uname -r").stdout)
---```
---@param options? machine.GuestOptions
---@return guest
function Machine:guest(options) end
