servers_dir = "open"
network "tor" {}
----------
error: the directory DIR/open can be written by other users (mode 0777)
  on server.hcl line 1, column 15:
  1: servers_dir = "open"
  hint: Close it to others: chmod 0700 DIR/open
