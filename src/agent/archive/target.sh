if [ -d "$1" ]; then echo directory; elif [ -e "$1" ] || [ -h "$1" ]; then echo file; else echo missing; fi
if [ -n "$2" ]; then
    probe=$(mktemp) || exit
    chown -- "$2" "$probe" || { rm -f "$probe"; exit 1; }
    ls -n "$probe"
    rm -f "$probe"
else
    echo - 1 0 0
fi
case $(tar --version 2>/dev/null) in *GNU*) echo gnu ;; *) echo other ;; esac
