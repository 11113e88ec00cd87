network "tor" {}
limits {
  connections       = "many"
  idle_timeout      = 7200
  handshake_timeout = "soon"
  queue_bytes       = "64MB"
  post_timeout      = ["10s"]
  token_batch       = true
  outstanding_posts = 1.5
}
server "main" {}
----------
error: connections must be a whole number from 1 to 65536
  on server.hcl line 3, column 23, in limits:
  3:   connections       = "many"
  hint: For example: connections = 4096

error: idle_timeout must be a duration from 1m to 7d
  on server.hcl line 4, column 23, in limits:
  4:   idle_timeout      = 7200
  hint: For example: idle_timeout = "2h"

error: handshake_timeout must be a duration from 1s to 10m
  on server.hcl line 5, column 23, in limits:
  5:   handshake_timeout = "soon"
  hint: For example: handshake_timeout = "30s"

error: queue_bytes must be a size from 1MiB to 16GiB
  on server.hcl line 6, column 23, in limits:
  6:   queue_bytes       = "64MB"
  hint: For example: queue_bytes = "64MiB"

error: post_timeout must be a duration from 100ms to 10m
  on server.hcl line 7, column 23, in limits:
  7:   post_timeout      = ["10s"]
  hint: For example: post_timeout = "10s"

error: token_batch must be a whole number from 1 to 150
  on server.hcl line 8, column 23, in limits:
  8:   token_batch       = true
  hint: For example: token_batch = 150

error: outstanding_posts must be a whole number from 1 to 4096
  on server.hcl line 9, column 23, in limits:
  9:   outstanding_posts = 1.5
  hint: For example: outstanding_posts = 64
