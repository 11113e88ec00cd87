network "tor" { data_dir = "secret" }
server "main" {}
----------
error: DIR/secret is not a directory
  on server.hcl line 1, column 28, in network "tor":
  1: network "tor" { data_dir = "secret" }
  hint: Choose another directory, or move the file away.
