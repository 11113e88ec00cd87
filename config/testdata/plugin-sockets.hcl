data_dir = "data"
network "tor" {}
plugin "storage" "caller" {
  path = "caller"
  dev  = true
  sandbox { sockets = ["/run/postgresql"] }
}
plugin "storage" "modest" {
  path = "modest"
  dev  = true
  sandbox { sockets = ["/run/postgresql"] }
}
plugin "peersync" "mesh" {
  path = "mesh"
  dev  = true
  sandbox { sockets = ["/run/tor"] }
}
plugin "stats" "caller" {
  path = "caller"
  dev  = true
  sandbox { sockets = ["data/tor"] }
}
server "main" {
  storage "caller" {}
}
server "other" {
  storage "modest" {}
  peersync "mesh" {}
}
----------
error: plugin "modest" does not ask for connections
  on server.hcl line 11, column 23, in plugin "storage" "modest", sandbox:
  11:   sandbox { sockets = ["/run/postgresql"] }
  hint: Leave this out.

error: no peersync plugin gets sockets
  on server.hcl line 16, column 23, in plugin "peersync" "mesh", sandbox:
  16:   sandbox { sockets = ["/run/tor"] }
  hint: Leave this out: the relay itself sends what the plugin has for others.

error: DIR/data/tor is not apart from DIR/data, where the keys are
  on server.hcl line 21, column 23, in plugin "stats" "caller", sandbox:
  21:   sandbox { sockets = ["data/tor"] }
  hint: Grant less, or move what the plugin needs to elsewhere. Whoever trusts it with the keys can write enabled = false.
