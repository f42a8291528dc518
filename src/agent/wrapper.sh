# Runs one command for snaptree: sh wrapper ID DIRECTORY USER STDIN COMMAND ARGUMENT...
# Output goes into files, which the host can read while the command runs. At the end their beginnings are printed, after a
# line that says so; where that is all there is of them, they are gone again. Other programs and processes are asked for as
# little as can be, since each takes an emulated guest longer than most commands do.
files=/run/snaptree-$1 cwd=$2 user=$3 stdin=$4
shift 4
most=500000
: "${HOME:=/root}" "${PATH:=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
export HOME PATH
refuse() {
    rm -f "$files".*
    echo ended
    echo "cannot enter \`$cwd\`$1" >&2
    exit 126
}
umask >"$files.mask" && read -r mask <"$files.mask" || exit 126
umask 077
: >>"$files.out" >>"$files.err" || exit 126
umask "$mask"
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
echo ended
[ ! -s "$files.out" ] || head -c $((most + 1)) "$files.out"
[ ! -s "$files.err" ] || head -c $((most + 1)) "$files.err" >&2
clean() {
    if [ -s "$files.out" ] || [ -s "$files.err" ]; then
        # Two lines of a size and a name, and their sum.
        # shellcheck disable=SC2046
        set -- $(wc -c "$files.out" "$files.err")
        [ "$1" -le $most ] && [ "$3" -le $most ] || return
    fi
    rm -f "$files".*
}
# Beside the answer, which nobody needs to wait for this with.
clean </dev/null >/dev/null 2>&1 &
exit $status
