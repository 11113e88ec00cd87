network "tor" {}
log {}
log { level = "info" }
server "main" {}
----------
error: second log block
  on server.hcl line 3, column 1, in log:
  3: log { level = "info" }
  hint: There is one already, on line 2.
