# Kills a process, its session, and every descendant of both (su gives its child a session of its own): sh kill PID
found=" $1 "
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
