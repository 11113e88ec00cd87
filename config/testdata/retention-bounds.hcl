network "tor" {}
server "main" {
  retention {
    max_age   = "0s"
    min_age   = "1h"
    max_bytes = "0B"
    max_count = 0
    keep_free = "9999999TiB"
  }
  retention {}
}
----------
error: max_age must be a duration from 24h to 36500d
  on server.hcl line 4, column 17, in server "main", retention:
  4:     max_age   = "0s"
  hint: For example: max_age = "365d"

error: min_age must be a duration from 24h to 36500d
  on server.hcl line 5, column 17, in server "main", retention:
  5:     min_age   = "1h"
  hint: For example: min_age = "30d"

error: max_bytes must be a size from 16MiB to 1024TiB
  on server.hcl line 6, column 17, in server "main", retention:
  6:     max_bytes = "0B"
  hint: For example: max_bytes = "2GiB"

error: max_count must be a whole number from 1000 to 1000000000000
  on server.hcl line 7, column 17, in server "main", retention:
  7:     max_count = 0
  hint: For example: max_count = 1000000

error: keep_free must be a size from 1MiB to 1024TiB
  on server.hcl line 8, column 17, in server "main", retention:
  8:     keep_free = "9999999TiB"
  hint: For example: keep_free = "1MiB"

error: second retention block
  on server.hcl line 10, column 3, in server "main", retention:
  10:   retention {}
  hint: There is one already, on line 3.
