data_dir = "a\u0000b"
network "tor" {}
server "main" {}
----------
error: data_dir holds a zero byte
  on server.hcl line 1, column 12:
  1: data_dir = "a\u0000b"
  hint: Write a path without it.
