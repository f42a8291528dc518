# Puts our program, which is the standard input, into the guest's memory, and lets it wait at its port:
# sh program PORT [replace]
# It is kept in /run, for a guest without the port to be woken with; where that is mounted noexec, it lies elsewhere
# while it is being started. The status says whether a program waits there.
port=$1 replace=$2 device=''
for entry in /sys/class/virtio-ports/*; do
    read -r name 2>/dev/null <"$entry/name" && [ "$name" = "$port" ] && device=/dev/${entry##*/}
done
if [ "$replace" ]; then
    for entry in /proc/[0-9]*; do
        read -r name 2>/dev/null <"$entry/comm" || continue
        case $name in snaptree-waker | snaptree-channe) kill -9 "${entry##*/}" ;; esac
    done
    sleep 0.1
fi
umask 077
program=/run/snaptree-channel
# Another snaptree may do the same at the same time.
cat >$program.$$ && chmod 700 $program.$$ && mv -f $program.$$ $program ||
    { rm -f $program.$$; exit 1; }
[ "$device" ] || { echo 'no port has its name'; exit 1; }
why=$($program "$device" 2>&1) && exit
for directory in /dev/shm /tmp /var/tmp; do
    copy=$directory/snaptree-channel
    cp $program $copy 2>/dev/null && $copy "$device" 2>/dev/null && rm -f $copy && exit
    rm -f $copy
done
echo "$why"
exit 1
