network "loopback" {}
server "main" {}
----------
error: registry is missing
  on server.hcl line 1, column 20, in network "loopback":
  1: network "loopback" {}
  hint: For example: registry = "REGISTRY"
