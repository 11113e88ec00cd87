data_dir = "."
network "tor" {}
server "main" {}
server "other" {}
----------
error: cannot use the directory DIR/servers/main: not a directory
  on server.hcl line 3, column 1, in server "main":
  3: server "main" {}
  hint: Choose another directory

error: cannot use the directory DIR/servers/other: not a directory
  on server.hcl line 4, column 1, in server "other":
  4: server "other" {}
  hint: Choose another directory
