-- Debian as a machine image. meta/images/debian.lua documents each function and option.
--
-- Services that only matter on a machine that stays up for weeks are masked, documentation and translations are omitted,
-- and QEMU itself starts the kernel, so that the guest boots quickly even without KVM.

local boot = require "images.boot"
local snaptree = require "snaptree"

local M, H = {}, {}

M.suites =
  { "bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable", "oldstable", "oldoldstable" }

function M.image(options)
  options = options or {}
  snaptree.check_options("images.debian", options, {
    suite = "string",
    packages = "table",
    mirror = "string",
    disk = "string",
    hostname = "string",
    timezone = "string",
  })
  local suite, disk = options.suite or "bookworm", options.disk or "8GiB"
  local hostname = options.hostname or "debian"
  M.check_suite("images.debian", suite, options.mirror)
  boot.check_size("images.debian", disk)
  H.check_packages(options.packages or {})
  H.check_hostname(hostname)
  H.check_timezone(options.timezone)

  local packages = table.move(H.packages, 1, #H.packages, 1, {})
  if options.timezone then
    table.insert(packages, "tzdata")
  end
  table.move(options.packages or {}, 1, #(options.packages or {}), #packages + 1, packages)

  return image.build({
    name = "debian-" .. suite,
    inputs = {
      recipe = 1,
      suite = suite,
      packages = packages,
      mirror = options.mirror,
      disk = disk,
      hostname = hostname,
      timezone = options.timezone,
    },
    cmdline = boot.cmdline,
    expression = snaptree.expression("images.debian", options),
    build = function(work)
      local argv = { "--variant=minbase", "--include=" .. table.concat(packages, ",") }
      table.move(H.bootstrap_options, 1, #H.bootstrap_options, #argv + 1, argv)
      table.move({ suite, "source.tar", options.mirror }, 1, 3, #argv + 1, argv)
      M.bootstrap("images.debian", work, argv)
      for name, file in pairs(H.files(hostname, options.timezone)) do
        work:write("files/" .. name, file.text, { mode = file.mode })
      end
      work:write("timezone", options.timezone or "")
      boot.disk(work, { fill = H.fill, size = disk })
      boot.initramfs(work, { root = "root" })
    end,
  })
end

function M.check_suite(what, suite, mirror)
  if mirror then
    if not suite:match("^[%w][%w._/-]*$") then
      error(("%s: `%s` is no name of a suite"):format(what, suite), 3)
    end
    return
  end
  for _, known in ipairs(M.suites) do
    if suite == known then
      return
    end
  end
  local nearest = snaptree.suggest(suite, M.suites)
  local hint = nearest and ("did you mean `%s`?"):format(nearest) or "one of " .. table.concat(M.suites, ", ")
  error(("%s: Debian has no suite `%s`\nhint: %s"):format(what, suite, hint), 3)
end

function M.bootstrap(what, work, arguments)
  local argv = table.move(arguments, 1, #arguments, 2, { "mmdebstrap" })
  local ok, problem = pcall(work.run, work, argv)
  if ok then
    return
  end
  local message, hint = tostring(problem), nil
  local url, why = message:match("E: Failed to fetch (%S+)%s+([^\n]+)")
  if url then
    hint = "is the mirror reachable, and does it have the suite? the option `mirror` names another one"
    error(("%s: cannot fetch `%s`: %s\nhint: %s"):format(what, url, why:gsub("%.%s+%-%s+", ": "), hint), 0)
  elseif message:find("mmdebstrap` is not", 1, true) or message:find("interrupted", 1, true) then
    error(problem, 0)
  elseif message:find("newuidmap", 1, true) or message:find("chroot mode", 1, true) then
    hint = "a normal user needs the package uidmap and a range in /etc/subuid"
  elseif message:find("Unable to locate package", 1, true) then
    hint = "the suite has no such package: look at `packages`"
  else
    hint = "the output above is mmdebstrap's"
  end
  error(("%s: cannot build the image: %s\nhint: %s"):format(what, message:gsub("\nhint:[^\n]*", ""), hint), 0)
end

-- Helpers -----------------------------------------------------------------------------------------------------------

H.packages = {
  "linux-image-cloud-amd64",
  "systemd-sysv",
  "udev",
  "dbus",
  "qemu-guest-agent",
  "iproute2",
  "ca-certificates",
  "busybox-static",
}

-- Services that a test machine does not need; each costs time at every boot or wakes up in the middle of a test.
H.masked = {
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "dpkg-db-backup.timer",
  "e2scrub_all.timer",
  "e2scrub_reap.service",
  "fstrim.timer",
  "man-db.timer",
  "getty@tty1.service",
  "systemd-networkd-wait-online.service",
  "systemd-pstore.service",
  "systemd-binfmt.service",
  "systemd-hwdb-update.service",
  "systemd-journal-flush.service",
  "systemd-machine-id-commit.service",
  "systemd-update-utmp.service",
  "systemd-update-utmp-runlevel.service",
  "dev-hugepages.mount",
  "dev-mqueue.mount",
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
  "sys-fs-fuse-connections.mount",
  "modprobe@configfs.service",
  "modprobe@drm.service",
  "modprobe@efi_pstore.service",
  "modprobe@fuse.service",
}

-- The dpkg options stay in the guest, so that packages installed later are small and quick too. The guest never boots
-- from an initramfs of its own, and making one takes a minute under emulation.
H.bootstrap_options = {
  '--aptopt=Acquire::Languages "none"',
  "--dpkgopt=path-exclude=/usr/share/man/*",
  "--dpkgopt=path-exclude=/usr/share/info/*",
  "--dpkgopt=path-exclude=/usr/share/locale/*",
  "--dpkgopt=path-exclude=/usr/share/doc/*",
  "--dpkgopt=path-include=/usr/share/doc/*/copyright",
  "--dpkgopt=path-exclude=/etc/kernel/postinst.d/initramfs-tools",
  '--customize-hook=chroot "$1" systemctl enable systemd-networkd.service',
  '--customize-hook=chroot "$1" systemctl mask ' .. table.concat(H.masked, " "),
  [[--customize-hook=chroot "$1" dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' 'linux-image-*' |
    sed -n 's/^ii *//p' | chroot "$1" xargs apt-mark hold]],
}

H.fill = [[
  tar -C root --exclude='./dev/*' -xf source.tar
  rm source.tar
  cp -r files/. root/
  : > root/etc/machine-id
  rm -rf root/var/lib/dbus/machine-id root/var/log/apt root/var/log/*.log root/var/cache/ldconfig/aux-cache
  zone=$(cat timezone)
  if [ -n "$zone" ]; then
    [ -f "root/usr/share/zoneinfo/$zone" ] || { echo "Debian knows no timezone $zone" >&2; exit 1; }
    ln -sf "/usr/share/zoneinfo/$zone" root/etc/localtime
  fi
]]

function H.files(hostname, timezone)
  return {
    ["etc/hostname"] = { text = hostname .. "\n" },
    ["etc/hosts"] = {
      text = ("127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost ip6-localhost ip6-loopback\n"):format(hostname),
    },
    ["etc/timezone"] = { text = (timezone or "Etc/UTC") .. "\n" },
    ["etc/default/locale"] = { text = "LANG=C.UTF-8\n" },
    ["etc/locale.conf"] = { text = "LANG=C.UTF-8\n" },
    -- The DNS server of QEMU's user networking. On another network, it is replaced below.
    ["etc/resolv.conf"] = { text = "nameserver 10.0.2.3\n" },
    ["etc/fstab"] = { text = "/dev/vda / ext4 defaults,x-systemd.growfs 0 0\n" },
    ["etc/systemd/network/20-eth0.network"] = {
      text = "[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n\n"
        .. "[DHCPv4]\nClientIdentifier=mac\n",
    },
    ["etc/systemd/journald.conf.d/volatile.conf"] = { text = "[Journal]\nStorage=volatile\n" },
    ["etc/systemd/system.conf.d/quick-stop.conf"] = { text = "[Manager]\nDefaultTimeoutStopSec=30s\n" },
    ["etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf"] = {
      text = "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200,57600,38400,9600 - $TERM\n",
    },
    -- When the agent answers, the network must work.
    ["etc/systemd/system/qemu-guest-agent.service.d/network.conf"] = {
      text = "[Unit]\nAfter=systemd-networkd.service\n\n[Service]\nEnvironment=HOME=/root USER=root\n"
        .. "ExecStartPre=-/usr/local/sbin/wait-for-network\n",
    },
    ["usr/local/sbin/wait-for-network"] = {
      mode = "755",
      text = [[
#!/bin/busybox sh
# Waits until eth0, where there is one, has an address; at most 10 seconds. Then takes over the name servers that
# came with it.
[ -e /sys/class/net/eth0 ] || exit 0
state=/run/systemd/netif/state
tries=100
until grep -qs '^OPER_STATE=routable' $state || [ $tries = 0 ]; do
  tries=$((tries - 1))
  sleep 0.1
done
servers=$(sed -n 's/^DNS=//p' $state | tr ' ' '\n' | sed -n 's/^[0-9a-f.:]\{1,\}$/nameserver &/p')
[ -z "$servers" ] || [ "$servers" = "$(cat /etc/resolv.conf)" ] || echo "$servers" > /etc/resolv.conf
]],
    },
  }
end

function H.check_packages(packages)
  for key, package in pairs(packages) do
    if math.type(key) ~= "integer" then
      error(("images.debian: `packages` is a list, and has the key `%s`"):format(key), 3)
    end
    if type(package) ~= "string" or not package:match("^[%w][%w.+:=~-]*$") then
      error(("images.debian: packages[%d] is %s, which is no name of a package"):format(key, H.show(package)), 3)
    end
  end
end

function H.check_hostname(hostname)
  if #hostname > 63 or not hostname:match("^%w[%w.-]*$") then
    error(("images.debian: %s is no host name\nhint: letters, digits, `-` and `.`"):format(H.show(hostname)), 3)
  end
end

function H.check_timezone(timezone)
  if timezone and (not timezone:match("^%w[%w_+/-]*$")) then
    error(("images.debian: %s is no timezone\nhint: such as Europe/Paris"):format(H.show(timezone)), 3)
  end
end

function H.show(value)
  return type(value) == "string" and ("%q"):format(value) or ("a %s (%s)"):format(type(value), tostring(value))
end

return setmetatable(M, {
  __call = function(_, options)
    return M.image(options)
  end,
})
