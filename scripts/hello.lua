-- A first tree, on a guest that boots in seconds.
--
-- What: the shape of databases.lua with the tiny image: two branches that differ in one file.
-- How: snaptree run scripts/hello.lua
--   then: snaptree exec hello/english -- cat /root/greeting
-- The tree:
--   fresh
--     |
--     +- prepared
--         |
--         +- english
--         +- japanese

local tiny = require "images.tiny"

local vm = machine("hello", { image = tiny {}, memory = "256MiB" })

local prepared = vm:root("fresh", { comment = "as it was built" }):branch("prepared", function(guest)
  guest:run "mkdir -p /root && uname -r > /root/kernel"
end)

local function greet(greeting)
  return function(guest)
    guest:write("/root/greeting", greeting .. "\n")
    assert(guest:read("/root/greeting") == greeting .. "\n")
  end
end

prepared:branches {
  english = greet "hello",
  japanese = greet "こんにちは",
}
