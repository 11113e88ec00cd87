network "tor" {}
----------
error: no server block
  on server.hcl line 1, column 1:
  1: network "tor" {}
  hint: Add server "main" {}.
