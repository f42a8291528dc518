---@meta _
-- Written by `snaptree stubs`. Machines: `machine` and what it returns.

---Declares a domain that owns a tree. Nothing is made yet: `machine:root` does that.
---
---```lua
---local vm = machine("kvm_debian12", { image = require "images.debian" {}, memory = "1GiB", cpus = 2 })
---```
---@class machines
---@overload fun(name: string, options: machine.Options): machine
machine = {}

---@class machine.Options
---@field image image A disk to begin with: `image.file`, `image.url`, `image.build`, `images.debian`.
---@field memory? string default "1GiB". A size with its unit, such as "512MiB"; 64 MiB at least.
---@field cpus? integer default 1. Virtual CPUs.
---@field disk? string default the image's own. The size of the disk, such as "20GiB"; larger than the image, not smaller.
---@field cpu_model? string default the host's with KVM, else the most that QEMU emulates. A CPU model of libvirt's.
---@field firmware? "bios"|"uefi" default "bios". What starts the machine.
---@field network? string default "user". QEMU's user networking; or "none", "network:NAME", "bridge:NAME".
---@field extra_xml? string XML for the domain's `<devices>`.

---Returns the machine of that name; it is an error when there is none (`virDomainLookupByName`).
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

---A machine: a domain of a connection, by name, whoever made it. Every field and call looks at the domain as it is
---now. Two handles of one domain are equal. What acts, acts at once, each time the script runs.
---@class machine
---@field name string The domain's name.
---@field uuid string The domain's UUID.
local Machine = {}

---@class machine.RootOptions
---@field comment? string default "". Any text.

---Returns the snapshot that the tree grows from. Of a declared machine it is the image, not yet started; of an
---opened one, what the machine is while it is shut off.
---
---```lua
---local sn01 = vm:root("sn01", { comment = "as installed" })
---```
---@param name string The snapshot's name.
---@param options? machine.RootOptions
---@return snapshot
function Machine:root(name, options) end

---Grows a branch from what an opened machine is while it is shut off. That becomes a root of the name `root`; a
---declared machine has no `branch`, its snapshots do.
---
---```lua
---machine.open("kvm_centos7"):branch("patched", function(guest) guest:run "yum -y update" end)
---```
---@param name string The snapshot's name.
---@param step fun(guest: guest) What makes it.
---@param options? snapshot.BranchOptions
---@return snapshot
function Machine:branch(name, step, options) end

---@class machine.SnapshotOptions
---@field comment? string default "". Any text (`<description>`).
---@field kind? "external"|"internal" default "external". External: the disk stays as it is and the guest goes on in an overlay. Internal: inside the qcow2 file.
---@field memory? boolean|string default true when the guest runs, unless `disk_only`. Whether its RAM belongs to the snapshot; a file's name: there, else beside the first disk (`<memory>`).
---@field disks? table<string, boolean|string> default as the domain says. By target: false leaves a disk out, a file is its overlay, else that is made beside the disk (`<disk>`).
---@field disk_only? boolean default false. The RAM of a running guest is left out, as after a power cut; excludes `memory` and `live` (`DISK_ONLY`).
---@field atomic? boolean default false. All disks or none (`ATOMIC`).
---@field quiesce? boolean default false. The guest agent freezes the file systems meanwhile (`QUIESCE`).
---@field halt? boolean default false. The guest is stopped after the snapshot (`HALT`).
---@field live? boolean default false. The guest runs on while its RAM is saved (`LIVE`).
---@field reuse_external? boolean default false. The overlays are there already (`REUSE_EXT`).

---Takes a snapshot, which becomes the current one (`virDomainSnapshotCreateXML`). A file's name is relative to the
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
---@field roots? boolean default false. Those without a parent; excludes `from` (`ROOTS`).
---@field leaves? boolean default false. Those without children (`LEAVES`).
---@field no_leaves? boolean default false. Those with children; excludes `leaves` (`NO_LEAVES`).
---@field kind? "external"|"internal" default both. Those that are held like that (`EXTERNAL`, `INTERNAL`).
---@field state? string|string[] default any. Those taken in this state, or in one of several: "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended", "disk-snapshot".
---@field from? snapshot|string The children of this snapshot, which may be given by name.
---@field descendants? boolean default false. With `from`: all that is below it (`DESCENDANTS`).
---@field topological? boolean Says what is so anyhow: each parent comes before its children (`TOPOLOGICAL`).

---Lists snapshots, each parent before its children, siblings by name (`virDomainListAllSnapshots`). Each option
---narrows the list, and all that are given count.
---
---```lua
---for _, snap in ipairs(dom:snapshots { leaves = true }) do print(snap, snap.created) end
---```
---@param options? machine.SnapshotsOptions
---@return snapshot[]
function Machine:snapshots(options) end

---Returns the snapshot of that name, or nil.
---
---```lua
---local snap = dom:find("sn02") or error("no sn02")
---```
---@param name string The snapshot's name.
---@return snapshot?
function Machine:find(name) end

---Returns the current snapshot, or nil when no snapshot is.
---
---```lua
---print(dom:current())
---```
---@return snapshot?
function Machine:current() end

---@class machine.Node
---@field name string The snapshot's name.
---@field current boolean Whether it is the current one.
---@field children machine.Node[] Those below it.

---Returns the tree as tables: a list of roots, each with its children. `print` draws it.
---
---```lua
---print(dom:tree())
---```
---@return machine.Node[]
function Machine:tree() end

---Takes back the newest revert or deletion, or the one of that number; returns what it was. To undo again undoes
---that.
---
---```lua
---print("undone: " .. dom:undo())
---```
---@param number? integer One of those that `machine:undos` lists; the newest without it.
---@return string
function Machine:undo(number) end

---@class machine.Undo
---@field number integer What `machine:undo` takes.
---@field created integer In seconds since the epoch.
---@field what string What was done, such as `revert to sn02`.
---@field effect string What taking it back would do.

---Lists what can be taken back, the newest last.
---
---```lua
---for _, entry in ipairs(dom:undos()) do print(entry.number, entry.what) end
---```
---@return machine.Undo[]
function Machine:undos() end

---@class machine.StartOptions
---@field paused? boolean default false. The guest's processors stand still at first (`START_PAUSED`).
---@field reset_nvram? boolean default false. The firmware's variables are made anew from their template (`START_RESET_NVRAM`).

---Starts the machine; one that runs is an error (`virDomainCreateWithFlags`).
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

---Stops the machine at once, like pulling the plug; one that does not run is an error (`virDomainDestroy`).
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

---Lets the guest's processors go on (`virDomainResume`).
---
---```lua
---dom:resume()
---```
function Machine:resume() end

---Returns libvirt's word for what the machine does: `running`, `blocked`, `paused`, `shutdown`, `shutoff`,
---`crashed` or `pmsuspended` (`virDomainGetState`).
---
---```lua
---assert(dom:state() == "shutoff")
---```
---@return string
function Machine:state() end

---Writes a picture of the first screen into a file of the host; returns its MIME type (`virDomainScreenshot`).
---
---```lua
---print(dom:screenshot("screen.ppm"))
---```
---@param path string A file of the host, relative to the directory in which snaptree was started.
---@return string
function Machine:screenshot(path) end

---@class machine.XmlOptions
---@field inactive? boolean default false. As it will be when it is started the next time (`INACTIVE`).

---Returns the domain's XML (`virDomainGetXMLDesc`).
---
---```lua
---local xml = dom:xml { inactive = true }
---```
---@param options? machine.XmlOptions
---@return string
function Machine:xml(options) end

---@class machine.GuestOptions
---@field timeout? string|number default "5m". How long to wait until the guest answers.

---Returns a guest in the running machine itself, once it answers. What is done in it is done at once to the machine
---and is not recorded.
---
---```lua
---print(dom:guest():run("uname -r").stdout)
---```
---@param options? machine.GuestOptions
---@return guest
function Machine:guest(options) end
