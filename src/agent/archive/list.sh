cd -- "$1" || exit
find . -print0 && printf '/\0' && exec find . -exec stat -c '%f %s %Y' {} +
