cd -- "$1" || exit
case $(tar --version 2>/dev/null) in
*GNU*) exec tar --sparse -cf - -- "$2" ;;
*) exec tar -cf - -- "$2" ;;
esac
