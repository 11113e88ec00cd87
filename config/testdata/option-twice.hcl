data_dir = "a"
data_dir = "b"
network "tor" {}
server "main" {}
----------
error: attribute redefined
  on server.hcl line 2, column 1:
  2: data_dir = "b"
  hint: The argument "data_dir" was already set at server.hcl:1,1-9. Each argument may be set only once.
