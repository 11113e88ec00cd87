data_dir: "data"
network "tor" {}
server "main" {}
----------
error: argument or block definition required
  on server.hcl line 1, column 1:
  1: data_dir: "data"
  hint: An argument or block definition is required here. To set an argument, use the equals sign "=" to introduce the argument value.
