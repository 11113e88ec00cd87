network "tor" {}
limits {
  connections       = env("CWTCH_RELAY_SECRET")
  idle_timeout      = env("CWTCH_RELAY_SECRET")
  queue_bytes       = file("secret")
}
server "main" {}
log {
  level = file("secret")
}
----------
error: connections must be a whole number from 1 to 65536
  on server.hcl line 3, column 23, in limits:
  3:   connections       = env("CWTCH_RELAY_SECRET")
  hint: For example: connections = 4096

error: idle_timeout must be a duration from 1m to 7d
  on server.hcl line 4, column 23, in limits:
  4:   idle_timeout      = env("CWTCH_RELAY_SECRET")
  hint: For example: idle_timeout = "2h"

error: queue_bytes must be a size from 1MiB to 16GiB
  on server.hcl line 5, column 23, in limits:
  5:   queue_bytes       = file("secret")
  hint: For example: queue_bytes = "64MiB"

error: level must be one of "debug", "info", "warn", "error"
  on server.hcl line 9, column 11, in log:
  9:   level = file("secret")
  hint: For example: level = "info"
