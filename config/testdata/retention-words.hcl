network "tor" {}
server "main" {
  retention {
    max_age = "1d25h"
    min_age = "-1d"
    max_days = 3
  }
}
----------
error: max_age must be a duration from 24h to 36500d
  on server.hcl line 4, column 15, in server "main", retention:
  4:     max_age = "1d25h"
  hint: For example: max_age = "365d"

error: min_age must be a duration from 24h to 36500d
  on server.hcl line 5, column 15, in server "main", retention:
  5:     min_age = "-1d"
  hint: For example: min_age = "30d"

error: unknown option "max_days"
  on server.hcl line 6, column 5, in server "main", retention:
  6:     max_days = 3
  hint: Known options: keep_free, max_age, max_bytes, max_count, min_age.
