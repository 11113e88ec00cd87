server "main" {}
----------
error: no network block
  on server.hcl line 1, column 1:
  1: server "main" {}
  hint: Add network "tor" {}.
