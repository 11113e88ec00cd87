network "loopback" { registry = "secret" }
server "main" {}
----------
error: DIR/secret is not a directory
  on server.hcl line 1, column 33, in network "loopback":
  1: network "loopback" { registry = "secret" }
  hint: Choose another directory, or move the file away.
