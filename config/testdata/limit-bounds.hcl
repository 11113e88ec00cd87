network "tor" {}
limits {
  connections       = 0
  idle_timeout      = "1s"
  queue_bytes       = "1TiB"
  token_batch       = 151
  stuck_reader      = "-5m"
  reader_buffer     = 99999999999999999999
}
server "main" {}
----------
error: connections must be a whole number from 1 to 65536
  on server.hcl line 3, column 23, in limits:
  3:   connections       = 0
  hint: For example: connections = 4096

error: idle_timeout must be a duration from 1m to 7d
  on server.hcl line 4, column 23, in limits:
  4:   idle_timeout      = "1s"
  hint: For example: idle_timeout = "2h"

error: queue_bytes must be a size from 1MiB to 16GiB
  on server.hcl line 5, column 23, in limits:
  5:   queue_bytes       = "1TiB"
  hint: For example: queue_bytes = "64MiB"

error: token_batch must be a whole number from 1 to 150
  on server.hcl line 6, column 23, in limits:
  6:   token_batch       = 151
  hint: For example: token_batch = 150

error: stuck_reader must be a duration from 1s to 24h
  on server.hcl line 7, column 23, in limits:
  7:   stuck_reader      = "-5m"
  hint: For example: stuck_reader = "5m"

error: reader_buffer must be a size from 16KiB to 64MiB
  on server.hcl line 8, column 23, in limits:
  8:   reader_buffer     = 99999999999999999999
  hint: For example: reader_buffer = "256KiB"
