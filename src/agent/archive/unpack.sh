if [ -n "$2" ] && ! [ -d "$1" ]; then
    mkdir -- "$1" && chmod "$2" "$1" || exit
fi
cd -- "$1" || exit
umask 022
case $(tar --version 2>/dev/null) in
*GNU*) exec tar --keep-directory-symlink $4 -x"$3"f - ;;
*) exec tar -x"$3"f - ;;
esac
