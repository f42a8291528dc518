local base = machine("lab", { image = require "images.tiny" {}, memory = "256MiB" }):root("base")

base:branch("web", function(guest)
  guest:run "apk add nginx"
  guest:write("/etc/nginx.conf", "port = 80\n")
  print("web listens on " .. guest:read("/etc/nginx.conf"):match "%d+")
end, { comment = "a server" })

base:branch("db", function(guest)
  guest:run("install db", { env = { LANG = "C" }, stdin = "yes\n" })
  guest:wait_for_port(5432)
  guest:sync()
end, { live = false })
