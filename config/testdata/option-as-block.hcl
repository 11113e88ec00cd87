network "tor" {}
data_dir { path = "x" }
server "main" {}
----------
error: "data_dir" is an option, not a block
  on server.hcl line 2, column 1, in data_dir:
  2: data_dir { path = "x" }
  hint: Write it with an equals sign: data_dir = ….
