# Runs one command for snaptree: sh wrapper ID TIME DIRECTORY USER STDIN COMMAND ARGUMENT...
# Output goes into files, which the host can read while the command runs. When there is little of it, it is printed
# at the end instead, after a line that says so, and the files are gone again. Other programs are asked for as little as
# can be, since each takes an emulated guest longer than most commands do.
files=/run/snaptree-$1 time=$2 cwd=$3 user=$4 stdin=$5
shift 5
: "${HOME:=/root}" "${PATH:=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
export HOME PATH
if [ -n "$time" ] && ! date -u -s "@$time" >/dev/null 2>&1; then
    echo late
    exit
fi
refuse() {
    rm -f "$files".*
    echo inline
    echo "cannot enter \`$cwd\`$1" >&2
    exit 126
}
(umask 077 && : >>"$files.out" >>"$files.err") || exit 126
if [ -n "$cwd" ]; then
    [ -d "$cwd" ] || refuse ': no such directory'
    cd -- "$cwd" 2>/dev/null || refuse ''
fi
if [ -n "$user" ]; then
    chown -- "$user" "$files.out" "$files.err" 2>/dev/null
    set -- su -s /bin/sh -c 'exec "$0" "$@"' -- "$user" "$@"
fi
# By exec, or a program named like one of the shell's own commands would not be the program.
if [ "$stdin" = file ]; then
    (exec "$@") <"$files.in" >>"$files.out" 2>>"$files.err"
else
    (exec "$@") >>"$files.out" 2>>"$files.err"
fi
status=$?
size=0
if [ -s "$files.out" ] || [ -s "$files.err" ]; then
    size=$(wc -c <"$files.out")
    [ ! -s "$files.err" ] || size=$((size + $(wc -c <"$files.err")))
fi
if [ "$size" -gt 1000000 ]; then
    echo files
    exit $status
fi
echo inline
[ ! -s "$files.out" ] || cat "$files.out"
[ ! -s "$files.err" ] || cat "$files.err" >&2
# Beside the answer, which nobody needs to wait for this with.
rm -f "$files.out" "$files.err" "$files.in" </dev/null >/dev/null 2>&1 &
exit $status
