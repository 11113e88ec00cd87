network "loopback" {
  registry = null
}
server "main" {}
----------
error: registry is missing
  on server.hcl line 2, column 14, in network "loopback":
  2:   registry = null
  hint: For example: registry = "REGISTRY"
