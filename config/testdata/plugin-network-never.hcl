network "tor" {}
plugin "peersync" "mesh" {
  path = "mesh"
  dev  = true
  sandbox { network = true }
}
plugin "peersync" "caller" {
  path = "caller"
  dev  = true
}
server "main" {
  peersync "mesh" {}
  peersync "caller" {}
}
----------
error: no peersync plugin gets network
  on server.hcl line 5, column 23, in plugin "peersync" "mesh", sandbox:
  5:   sandbox { network = true }
  hint: Leave this out: the relay itself sends what the plugin has for others.

error: plugin "caller" wants the network, and no peersync plugin gets it: It keeps messages in a database on another machine.
  on server.hcl line 13, column 12, in server "main", peersync "caller":
  13:   peersync "caller" {}
  hint: Use another plugin.
