servers_dir = "servers"
network "tor" {}
----------
error: DIR/servers is not a directory
  on server.hcl line 1, column 15:
  1: servers_dir = "servers"
  hint: Choose another directory, or move the file away.
