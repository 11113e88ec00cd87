network "tor" {}
limits {
  posts_per_hour = 1345
  bytes_per_day  = "67MiB"
}
server "main" {
  retention {
    min_age = "1d"
  }
}
server "long" {}
----------
error: posts_per_hour lets more into server "long" than its max_count holds within its min_age, so it could be full and refuse posts for days
  on server.hcl line 3, column 20, in limits:
  3:   posts_per_hour = 1345
  hint: Write at most 1344, or leave it out. To take more, give the retention of the server a shorter min_age or a larger max_count.

error: bytes_per_day lets more into server "long" than its max_bytes holds within its min_age, so it could be full and refuse posts for days
  on server.hcl line 4, column 20, in limits:
  4:   bytes_per_day  = "67MiB"
  hint: Write at most "66MiB", or leave it out. To take more, give the retention of the server a shorter min_age or a larger max_bytes.
