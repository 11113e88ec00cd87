data_dir = "server.hcl/data"
network "tor" {}
server "main" {}
----------
error: cannot use the directory DIR/server.hcl/data: not a directory
  on server.hcl line 1, column 12:
  1: data_dir = "server.hcl/data"
  hint: Choose another directory
