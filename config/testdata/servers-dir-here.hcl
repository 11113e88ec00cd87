servers_dir = "."
network "tor" {}
----------
error: servers_dir is the directory of this file
  on server.hcl line 1, column 15:
  1: servers_dir = "."
  hint: Choose another one, such as "servers.d".
