# Kills the wrapper of a command, its session, and every descendant of both (su gives its child a session of its own):
# sh kill ID REST-OF-ID PID
# In a guest that restarted meanwhile, that process may be another one.
[ ! -e "/proc/$3" ] || grep -q "$1$2" "/proc/$3/cmdline" 2>/dev/null || exit 0
found=" $3 "
grown=1
while [ "$grown" ]; do
    grown=
    for file in /proc/[0-9]*/stat; do
        read -r line 2>/dev/null <"$file" || continue
        pid=${line%% *}
        case "$found" in *" $pid "*) continue ;; esac
        # After the name, which may hold anything: state, parent, group, session.
        set -- ${line##*) }
        case "$found" in *" $2 "* | *" $4 "*) found="$found$pid " grown=1 ;; esac
    done
done
kill -9 $found 2>/dev/null
