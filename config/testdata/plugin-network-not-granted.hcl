network "tor" {}
plugin "storage" "caller" {
  path = "caller"
  dev  = true
}
plugin "stats" "caller" {
  path = "caller"
  dev  = true
  sandbox { network = true }
}
server "main" {
  storage "caller" {}
  stats "caller" {}
}
server "other" {
  storage "caller" {}
}
----------
error: plugin "caller" needs the network: It keeps messages in a database on another machine.
  on server.hcl line 12, column 11, in server "main", storage "caller":
  12:   storage "caller" {}
  hint: If you agree, grant it in its block on line 2: sandbox { sockets = ["/DIRECTORY"] } for the unix sockets in a directory, or sandbox { network = true } for the whole network.
