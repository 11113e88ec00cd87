network "tor" {}
data_dirr = "data"
server "main" {}
----------
error: unknown option "data_dirr"
  on server.hcl line 2, column 1:
  2: data_dirr = "data"
  hint: Did you mean "data_dir"?
