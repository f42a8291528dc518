-- A kernel with a small initramfs, and a disk made from a tree of files. meta/images/boot.lua documents each function.
--
-- Debian's own initramfs carries every driver and takes 8 seconds to boot if QEMU has to emulate the processor. A machine
-- made by snaptree has virtio devices and one ext4 disk, so this initramfs contains only busybox and the modules for those.

local check_options = require("snaptree").check_options

local M, H = {}, {}

M.cmdline = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet"

-- They include the network and the agent's port, so that both are present when the guest's first process looks for them.
M.modules = { "virtio_pci", "virtio_blk", "ext4", "virtio_net", "virtio_console", "virtio_rng", "af_packet" }

function M.initramfs(work, options)
  options = options or {}
  check_options("images.boot.initramfs", options, { root = "string" })
  work:run({ "sh", "-eu", "-c", H.initramfs, "sh", options.root or "root", table.concat(M.modules, " ") })
end

function M.disk(work, options)
  check_options("images.boot.disk", options, { fill = "string", size = "string" })
  work:write("disk.sh", H.disk .. "\nfill() {\n" .. options.fill .. "\n}\n" .. "main\n")
  -- Ownership set while the tree is made must last until mke2fs reads it, so both run under one fakeroot.
  local user = work:run("id -u"):match("%d+")
  local wrapper = user == "0" and {} or { "fakeroot", "--" }
  local argv = table.move({ "sh", "-eu", "disk.sh", H.bytes(options.size) }, 1, 4, #wrapper + 1, wrapper)
  work:run(argv)
  work:run({ "qemu-img", "convert", "-O", "qcow2", "disk.raw", "disk.qcow2" })
  work:run({ "rm", "disk.raw" })
end

function M.check_size(what, size)
  if not pcall(H.bytes, size) then
    error(("%s: `%s` is no disk size\nhint: write a whole number and a unit, such as 8GiB"):format(what, size), 3)
  end
end

-- Helpers -----------------------------------------------------------------------------------------------------------

H.units = { MiB = 1 << 20, GiB = 1 << 30, TiB = 1 << 40, MB = 1000000, GB = 1000000000, M = 1 << 20, G = 1 << 30 }

-- Returns the bytes of a size such as "8GiB", as a string of digits.
function H.bytes(size)
  local number, unit = tostring(size):match("^%s*(%d+)%s*(%a+)%s*$")
  local factor = unit and H.units[unit]
  if not factor or tonumber(number) == 0 then
    error(("`%s` is no disk size"):format(size), 0)
  end
  return ("%d"):format(tonumber(number) * factor)
end

-- The identifiers are fixed, since any difference between builds would make every layer differ.
H.disk = [[
umask 022
main() {
  rm -rf root
  mkdir root
  fill
  truncate -s "$size" disk.raw
  mke2fs -q -t ext4 -L root -m 1 -U 00000000-0000-4000-8000-736e61707472 \
    -E hash_seed=00000000-0000-4000-8000-736e61707472,lazy_itable_init=0,lazy_journal_init=0 -d root disk.raw
}
size=$1]]

H.initramfs = [[
umask 022
root=$1
[ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
kernel=$(ls "$root/boot" | sed -n 's/^vmlinuz-//p' | sort -V | tail -n 1)
[ -n "$kernel" ] || { echo "there is no kernel in $root/boot" >&2; exit 1; }
[ -e "$root/lib/modules/$kernel/modules.dep" ] || depmod -b "$root" "$kernel"

rm -rf initramfs
mkdir -p initramfs/bin initramfs/dev initramfs/modules initramfs/root
cp "$root/bin/busybox" initramfs/bin/busybox || cp "$root/usr/bin/busybox" initramfs/bin/busybox

# What the modules depend on comes before them, each file once.
for module in $2; do
  modprobe -d "$PWD/$root" -S "$kernel" --show-depends "$module"
done | sed -n 's/^insmod \(.*\.ko\(\.[a-z]*\)\{0,1\}\).*$/\1/p' | awk '!seen[$0]++' > module-files
: > module-lines
while IFS= read -r file; do
  name=${file##*/}
  case $name in
    *.xz) name=${name%.xz}; xz -dc "$file" > "initramfs/modules/$name" ;;
    *.zst) name=${name%.zst}; zstd -dcq "$file" > "initramfs/modules/$name" ;;
    *) cp "$file" "initramfs/modules/$name" ;;
  esac
  echo "\$b insmod /modules/$name" >> module-lines
done < module-files

{
  echo '#!/bin/busybox sh'
  echo 'b=/bin/busybox'
  echo '$b mount -t devtmpfs devtmpfs /dev'
  cat module-lines
  cat <<'INIT'
tries=100
until [ -b /dev/vda ] || [ $tries = 0 ]; do tries=$((tries - 1)); $b sleep 0.05; done
$b mount -t ext4 -o rw /dev/vda /root || exec $b sh
$b mount -o move /dev /root/dev
exec $b switch_root /root /sbin/init
INIT
} > initramfs/init
chmod 755 initramfs/init
# Not compressed: it is small, and unpacking it would be the guest's work.
(cd initramfs && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet --reproducible) > initrd
cp "$root/boot/vmlinuz-$kernel" vmlinuz
rm -rf initramfs module-files module-lines
]]

return M
