# A system that was cloned while it ran becomes one of its own.
set -eu
new=$(cut -c1-8 /proc/sys/kernel/random/uuid)

# systemd-machine-id-setup would make it of the virtual machine's uuid, which all guests that resume from one state have in memory.
if [ -e /etc/machine-id ]; then
  tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
fi
[ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id

name="$(cat /proc/sys/kernel/hostname)-$new"
echo "$name" >/proc/sys/kernel/hostname
echo "$name" >/etc/hostname

if ls /etc/ssh/ssh_host_*_key >/dev/null 2>&1; then
  rm -f /etc/ssh/ssh_host_*
  ssh-keygen -A >/dev/null
  systemctl try-restart ssh.service sshd.service 2>/dev/null || true
fi

if command -v networkctl >/dev/null; then
  for card in /sys/class/net/e*; do
    [ ! -e "$card" ] || networkctl renew "${card##*/}" 2>/dev/null || true
  done
fi
