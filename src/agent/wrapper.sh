# Runs one command for snaptree: sh wrapper ID SEEN DIRECTORY USER STDIN COMMAND ARGUMENT...
# Output goes into files, which the host can read while the command runs, and so does the exit status, since the agent
# may be another one by then. At the end it prints the beginnings of the output, after a line that says so: in most
# cases the host needs no more. It removes the files of the commands SEEN, whose results the host has. It starts as few
# other programs and processes as it can, since each takes an emulated guest longer than most commands do.
id=$1 seen=$2 cwd=$3 user=$4 stdin=$5
files=/run/snaptree-$id
shift 5
most=500000
: "${HOME:=/root}" "${PATH:=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
export HOME PATH
# The host starts a command once more if it got no answer the first time; one of the two is enough.
set -C
{ umask && echo $$; } >"$files.pid" && read -r mask <"$files.pid" || exit 126
set +C
umask 077
: >>"$files.out" >>"$files.err" || exit 126
umask "$mask"
# systemd ends what is in the agent's control group when the agent ends.
for group in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ ! -w $group/cgroup.procs ] || echo 0 >$group/cgroup.procs
done 2>/dev/null
status=126
if [ -n "$cwd" ] && [ ! -d "$cwd" ]; then
    echo "cannot enter \`$cwd\`: no such directory" >>"$files.err"
elif [ -n "$cwd" ] && ! cd -- "$cwd" 2>/dev/null; then
    echo "cannot enter \`$cwd\`" >>"$files.err"
else
    if [ -n "$user" ]; then
        chown -- "$user" "$files.out" "$files.err" 2>/dev/null
        set -- su -s /bin/sh -c 'exec "$0" "$@"' -- "$user" "$@"
    fi
    # By exec, or a program with the name of a shell built-in would not be run.
    case $stdin in
    file) (exec "$@") <"$files.in" >>"$files.out" 2>>"$files.err" ;;
    pipe)
        mkfifo -m 600 "$files.in" "$files.end" || exit 126
        # Keeps the pipe open between the pieces that come, until the other one is opened.
        { : <"$files.end"; } >"$files.in" 2>/dev/null &
        (exec "$@") <"$files.in" >>"$files.out" 2>>"$files.err"
        ;;
    *) (exec "$@") >>"$files.out" 2>>"$files.err" ;;
    esac
    status=$?
fi
echo $status >"$files.status"
# If the agent is gone, what follows has no reader.
trap '' PIPE
echo "ended $id"
[ ! -s "$files.out" ] || head -c $((most + 1)) "$files.out"
[ ! -s "$files.err" ] || head -c $((most + 1)) "$files.err" >&2
[ "$stdin" != pipe ] || kill $! 2>/dev/null
clean() {
    set --
    for id in $seen; do
        set -- "$@" "/run/snaptree-$id".*
    done
    exec rm -f "$@"
}
# In the background, since the answer need not wait for this.
[ -z "$seen" ] || clean </dev/null >/dev/null 2>&1 &
exit $status
