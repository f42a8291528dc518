# Prints each new state of a unit, and ends when it is active, has failed, or cannot be told: sh watch_unit UNIT
last=
while state=$(systemctl is-active -- "$1") || status=$?; do
    [ "$state" = "$last" ] || echo "$state"
    last=$state
    case "$state" in
    "") exit "$status" ;;
    active | failed) exit 0 ;;
    esac
    sleep 0.25 2>/dev/null || sleep 1
done
