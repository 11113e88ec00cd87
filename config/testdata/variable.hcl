data_dir = home
network "tor" {}
server "main" {}
----------
error: variables not allowed
  on server.hcl line 1, column 12:
  1: data_dir = home
  hint: Variables may not be used here.
