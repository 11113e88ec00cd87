network "tor" {}
plugin "storage" "modest" {
  path = "modest"
  dev  = true
  sandbox {
    network = true
  }
}
server "main" {
  storage "modest" {}
}
----------
error: plugin "modest" does not ask for connections
  on server.hcl line 6, column 15, in plugin "storage" "modest", sandbox:
  6:     network = true
  hint: Leave this out.
