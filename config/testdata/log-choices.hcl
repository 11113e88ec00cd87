network "tor" {}
log {
  level  = "verbose"
  format = 5
}
server "main" {}
----------
error: level must be one of "debug", "info", "warn", "error"
  on server.hcl line 3, column 12, in log:
  3:   level  = "verbose"
  hint: For example: level = "info"

error: format must be one of "text", "json"
  on server.hcl line 4, column 12, in log:
  4:   format = 5
  hint: For example: format = "text"
