cd -- "$1" && exec xargs -0 rm -rf --
