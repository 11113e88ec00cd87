network "tor" {}
log {
  colour = true
}
server "main" {}
----------
error: unknown option "colour"
  on server.hcl line 3, column 3, in log:
  3:   colour = true
  hint: Known options: format, level.
