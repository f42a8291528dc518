---@meta _
-- Written by `snaptree stubs`. More connections.

---Connections other than the one that snaptree was started with.
---@class libvirt
libvirt = {}

---Opens a connection (`virConnectOpen`). If the URI is already open, it returns that connection, even if it is the one
---that snaptree was started with.
---
---```lua
---local other = libvirt.connect("qemu:///session")
---```
---@param uri string As in `virsh -c`, or "embed", or "fake:PATH".
---@return connection
function libvirt.connect(uri) end

---A connection to a hypervisor.
---@class connection
---@field uri string Its URI.
local Connection = {}

---Returns the machine of this name on this connection; fails if there is none (`virDomainLookupByName`).
---
---```lua
---local dom = libvirt.connect("qemu:///system"):open("kvm_centos7")
---```
---@param name string The domain's name.
---@return machine
function Connection:open(name) end

---Returns every machine of this connection, by name (`virConnectListAllDomains`).
---
---```lua
---for _, dom in ipairs(other:list()) do print(dom.name) end
---```
---@return machine[]
function Connection:list() end
