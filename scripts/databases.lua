-- MariaDB and PostgreSQL, each in a branch of one Debian machine.
--
-- What: a fresh Debian 12, the same with apt's package lists, and on top of it two branches with a database each,
--   installed, started and asked for its version.
-- How: snaptree run scripts/databases.lua
--   then: snaptree exec kvm_debian12/mariadb_kvm_debian12 -- mariadb -e "select version()"
--   or from the host: snaptree fork kvm_debian12/mariadb_kvm_debian12 --forward 3306
--     and mariadb --host 127.0.0.1 --port PORT --user demo --password=demo
-- The tree:
--   sn01_kvm_debian12
--     |
--     +- sn02_kvm_debian12
--         |
--         +- mariadb_kvm_debian12
--         +- postgresql_kvm_debian12

local debian, mariadb, postgresql = require "images.debian", require "mariadb", require "postgresql"

local vm = machine("kvm_debian12", {
  image = debian { suite = "bookworm" },
  memory = "1GiB",
  cpus = 2,
})

local sn01 = vm:root("sn01_kvm_debian12", { comment = "fresh install" })

local sn02 = sn01:branch("sn02_kvm_debian12", function(guest)
  guest:run("apt-get update", { timeout = "15m" })
end, { comment = "with apt's package lists" })

sn02:branches {
  mariadb_kvm_debian12 = function(guest)
    mariadb.install(guest, { bind_address = "0.0.0.0" })
    mariadb.create_user(guest, "demo", { password = "demo" })
  end,
  postgresql_kvm_debian12 = function(guest)
    postgresql.install(guest)
  end,
}
