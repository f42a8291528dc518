-- A guest that boots in seconds even without KVM. meta/images/tiny.lua documents each function and option.

local boot = require "images.boot"
local debian = require "images.debian"
local snaptree = require "snaptree"

local M, H = {}, {}

function M.image(options)
  options = options or {}
  snaptree.check_options("images.tiny", options, { suite = "string", mirror = "string", disk = "string" })
  local suite, disk = options.suite or "bookworm", options.disk or "1GiB"
  debian.check_suite("images.tiny", suite, options.mirror)
  boot.check_size("images.tiny", disk)
  return image.build({
    name = "tiny-" .. suite,
    inputs = { recipe = 1, suite = suite, mirror = options.mirror, disk = disk },
    cmdline = boot.cmdline,
    expression = snaptree.expression("images.tiny", options),
    build = function(work)
      debian.bootstrap("images.tiny", work, {
        "--variant=extract",
        "--include=busybox-static,linux-image-cloud-amd64,qemu-guest-agent",
        suite,
        "source.tar",
        options.mirror,
      })
      work:run("mkdir source && tar -C source -xf source.tar --exclude='./dev/*' && rm source.tar")
      boot.initramfs(work, { root = "source" })
      for name, file in pairs(H.files) do
        work:write("files/" .. name, file.text, { mode = file.mode })
      end
      boot.disk(work, { fill = H.fill, size = disk })
    end,
  })
end

-- Helpers -----------------------------------------------------------------------------------------------------------

-- One directory for programs and one for libraries, to which the other names point: the agent and scripts find a
-- command under any of its usual paths.
H.fill = [[
  cd root
  mkdir -p usr/bin usr/lib etc dev proc sys run tmp root var/log
  ln -s usr/bin bin; ln -s usr/bin sbin; ln -s bin usr/sbin
  ln -s usr/lib lib; ln -s usr/lib lib64
  ln -s ../proc/mounts etc/mtab
  ln -s ../run var/run
  chmod 1777 tmp
  chmod 700 root
  busybox=../source/bin/busybox
  [ -e "$busybox" ] || busybox=../source/usr/bin/busybox
  cp "$busybox" usr/bin/busybox
  for applet in $(usr/bin/busybox --list); do
    [ "$applet" = busybox ] || ln -sf busybox "usr/bin/$applet"
  done
  cp ../source/usr/sbin/qemu-ga usr/bin/qemu-ga
  libraries() {
    local library file
    for library in $(objdump -p "$1" | awk '$1 == "NEEDED" { print $2 }'); do
      [ ! -e "usr/lib/$library" ] || continue
      file=$(find ../source -name "$library" | head -n 1)
      [ -n "$file" ] || { echo "$1 needs $library, which no package brings" >&2; exit 1; }
      cp -L "$file" "usr/lib/$library"
      libraries "usr/lib/$library"
    done
  }
  libraries usr/bin/qemu-ga
  rm -f usr/bin/shutdown
  cp -r ../files/. .
  cd ..
]]

H.files = {
  ["etc/hostname"] = { text = "tiny\n" },
  ["etc/hosts"] = { text = "127.0.0.1 localhost tiny\n" },
  ["etc/resolv.conf"] = { text = "nameserver 10.0.2.3\n" },
  ["etc/passwd"] = {
    text = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
  },
  ["etc/shadow"] = { text = "root:*:1::::::\nnobody:*:1::::::\n", mode = "640" },
  ["etc/group"] = { text = "root:x:0:\nnogroup:x:65534:\n" },
  ["etc/shells"] = { text = "/bin/sh\n" },
  ["etc/profile"] = {
    text = [[
export HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin USER=root
export PS1='\h:\w\$ '
cd "$HOME"
]],
  },
  ["etc/inittab"] = {
    text = [[
::sysinit:/etc/init.d/rcS
::respawn:/usr/bin/guest-agent
ttyS0::respawn:-/bin/sh
::shutdown:/etc/init.d/rcK
]],
  },
  ["etc/init.d/rcS"] = {
    mode = "755",
    text = [[
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
hostname -F /etc/hostname
ip link set lo up
[ ! -e /sys/class/net/eth0 ] || {
  ip link set eth0 up
  udhcpc -i eth0 -b -t 5 -T 1 -S -s /etc/udhcpc -p /run/udhcpc.pid >/dev/null 2>&1 &
}
]],
  },
  ["etc/udhcpc"] = {
    mode = "755",
    text = [[
#!/bin/sh
case $1 in
  deconfig) ip address flush dev "$interface" ;;
  bound | renew)
    ip address replace "$ip/$mask" dev "$interface"
    for gateway in $router; do ip route replace default via "$gateway" dev "$interface"; done
    servers=$(for server in $dns; do echo "nameserver $server"; done)
    [ "$servers" = "$(cat /etc/resolv.conf)" ] || echo "$servers" > /etc/resolv.conf ;;
esac
]],
  },
  -- init stops processes only after its shutdown actions, but a program that still writes would prevent the root file
  -- system from becoming read-only.
  ["etc/init.d/rcK"] = {
    mode = "755",
    text = [[
#!/bin/sh
kill -TERM -1
tries=30
# What remains is init, this script and the two commands of the pipe.
while [ "$(readlink /proc/[0-9]*/exe 2>/dev/null | wc -l)" -gt 4 ] && [ $tries -gt 0 ]; do
  tries=$((tries - 1))
  sleep 0.1
done
kill -KILL -1
how=$(cat /run/shutdown 2>/dev/null)
sync
umount -a -r 2>/dev/null
[ -z "$how" ] || "$how" -f
]],
  },
  -- The guest agent calls `shutdown` with the options of sysvinit.
  ["usr/bin/shutdown"] = {
    mode = "755",
    text = [[
#!/bin/sh
case " $* " in
  *" -r "*) how=reboot ;;
  *" -H "*) how=halt ;;
  *) how=poweroff ;;
esac
echo "$how" > /run/shutdown
exec "/sbin/$how"
]],
  },
  ["usr/bin/guest-agent"] = {
    mode = "755",
    text = [[
#!/bin/sh
export HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin USER=root
cd /
for name in /sys/class/virtio-ports/*/name; do
  [ "$(cat "$name" 2>/dev/null)" = org.qemu.guest_agent.0 ] || continue
  port=${name%/name}
  exec /usr/bin/qemu-ga -m virtio-serial -p "/dev/${port##*/}" -t /run
done
sleep 0.5
]],
  },
}

return setmetatable(M, {
  __call = function(_, options)
    return M.image(options)
  end,
})
