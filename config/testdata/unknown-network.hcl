network "tro" {}
server "main" {}
----------
error: unknown network "tro"
  on server.hcl line 1, column 9, in network "tro":
  1: network "tro" {}
  hint: Did you mean "tor"?
