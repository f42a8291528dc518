# Becomes the login shell of a user of the guest, on a terminal: sh login USER
user=$1
stty iutf8 2>/dev/null
: "${LANG:=C.UTF-8}"
export LANG
[ "$user" = root ] || exec su -l -- "$user"
shell=$(sed -n 's/^root:.*:\([^:]*\)$/\1/p' /etc/passwd)
export HOME="${HOME:-/root}" USER=root LOGNAME=root SHELL="${shell:-/bin/sh}"
cd || cd /
exec "$SHELL" -l
