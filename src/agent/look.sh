# Says what has become of a command of which the agent knows nothing: sh look ID REST-OF-ID
# Both parts together are in the command line of its wrapper, and not in this one.
files=/run/snaptree-$1$2 pid= runs=
[ ! -e "$files.pid" ] || { read -r _; read -r pid; } <"$files.pid"
[ -z "$pid" ] || ! grep -q "$1$2" "/proc/$pid/cmdline" 2>/dev/null || runs=yes
if [ -s "$files.status" ]; then
    read -r status <"$files.status"
    echo "ended $status"
elif [ -n "$runs" ]; then
    echo "runs $pid"
elif [ -e "$files.pid" ]; then
    echo killed
else
    echo nothing
fi
