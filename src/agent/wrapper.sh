# Runs one command for snaptree: sh wrapper ID DIRECTORY USER STDIN COMMAND ARGUMENT...
# Output goes into files, which the host can read while the command runs. When there is little of it, it is printed
# at the end instead, after a line that says so, and the files are gone again.
files=/run/snaptree/$1 cwd=$2 user=$3 stdin=$4
shift 4
: "${HOME:=/root}" "${PATH:=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
export HOME PATH
mkdir -p -m 700 "$files" || exit 126
refuse() {
    rm -rf "$files"
    echo inline
    echo "cannot enter \`$cwd\`$1" >&2
    exit 126
}
if [ -n "$cwd" ]; then
    [ -d "$cwd" ] || refuse ': no such directory'
    cd -- "$cwd" 2>/dev/null || refuse ''
fi
if [ -n "$user" ]; then
    : >"$files/out" >"$files/err"
    chmod 666 "$files/out" "$files/err"
    set -- su -s /bin/sh -c 'exec "$0" "$@"' -- "$user" "$@"
fi
# By exec, or a program named like one of the shell's own commands would not be the program.
if [ "$stdin" = file ]; then
    (exec "$@") <"$files/in" >>"$files/out" 2>>"$files/err"
else
    (exec "$@") >>"$files/out" 2>>"$files/err"
fi
status=$?
size=0
if [ -s "$files/out" ] || [ -s "$files/err" ]; then
    size=$(wc -c <"$files/out")
    [ ! -s "$files/err" ] || size=$((size + $(wc -c <"$files/err")))
fi
if [ "$size" -gt 1000000 ]; then
    echo files
    exit $status
fi
echo inline
[ ! -s "$files/out" ] || cat "$files/out"
[ ! -s "$files/err" ] || cat "$files/err" >&2
rm -rf "$files"
exit $status
