data_dir = 1e100000000
network "tor" {}
server "main" {}
----------
error: number out of range
  on server.hcl line 1, column 12:
  1: data_dir = 1e100000000
  hint: Numbers lie between -1e308 and 1e308.
