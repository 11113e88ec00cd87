data_dir = "server.hcl"
network "tor" {}
server "main" {}
----------
error: DIR/server.hcl is not a directory
  on server.hcl line 1, column 12:
  1: data_dir = "server.hcl"
  hint: Choose another directory, or move the file away.
