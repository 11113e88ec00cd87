data_dir = "a\nb"
network "tor" {}
server "main" {}
----------
error: data_dir holds a control character
  on server.hcl line 1, column 12:
  1: data_dir = "a\nb"
  hint: Write a path without it.
