network "tor" {}
plugin "peersync" "mesh" {
  path = "mesh"
  dev  = true
}
server "alone" {
  peer "alice" {
    onion = "lbtgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztmn5ad.onion"
  }
}
server "two" {
  peersync "mesh" {}
  peersync "mesh" {}
  peer "Alice" {
    onion = "lbtgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztmn5ad"
    role  = "master"
  }
  peer "bob" {
    onion = "lbtgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztmn5ad.onion"
    envelopes_per_hour = 0
    bytes_per_day = "lots"
  }
  peer "bob" {
    onion = "lbtgmztgmztgmztgmztgzztgmztgmztgmztgmztgmztgmztgmztmn5ad.onion"
  }
  peer "carol" {
    pause = true
  }
  peer "dan" {
    onion = "http://lbtgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztmn5ad.onion/"
  }
  peer "erin" {
    onion = "lbtgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztmn5ad.onion:9878"
  }
  peer "frank" {
    onion = "LBTGMZTGMZTGMZTGMZTGMZTGMZTGMZTGMZTGMZTGMZTGMZTGMZTMN5AD.onion"
  }
}
----------
error: peer of a server without a peersync plugin
  on server.hcl line 7, column 3, in server "alone", peer "alice":
  7:   peer "alice" {
  hint: Add the plugin that keeps the replicas in step, for example peersync "mesh" {}.

error: second peersync plugin of a server with peers
  on server.hcl line 13, column 3, in server "two", peersync "mesh":
  13:   peersync "mesh" {}
  hint: Peers run one plugin, the same at both ends. Leave one out.

error: the name of a peer is 1 to 64 of a-z, 0-9 and -
  on server.hcl line 14, column 8, in server "two", peer "Alice":
  14:   peer "Alice" {
  hint: For example: peer "alice".

error: role must be one of "replica", "mirror"
  on server.hcl line 16, column 13, in server "two", peer "Alice":
  16:     role  = "master"
  hint: For example: role = "replica"

error: second peer with this onion
  on server.hcl line 19, column 13, in server "two", peer "bob":
  19:     onion = "lbtgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztmn5ad.onion"
  hint: There is one already, on line 14.

error: envelopes_per_hour must be a whole number from 1 to 1000000000
  on server.hcl line 20, column 26, in server "two", peer "bob":
  20:     envelopes_per_hour = 0
  hint: For example: envelopes_per_hour = 10000

error: bytes_per_day must be a size from 1MiB to 1024TiB
  on server.hcl line 21, column 21, in server "two", peer "bob":
  21:     bytes_per_day = "lots"
  hint: For example: bytes_per_day = "256MiB"

error: second peer "bob"
  on server.hcl line 23, column 8, in server "two", peer "bob":
  23:   peer "bob" {
  hint: There is one already, on line 18.

error: onion is not the address of an onion service
  on server.hcl line 24, column 13, in server "two", peer "bob":
  24:     onion = "lbtgmztgmztgmztgmztgzztgmztgmztgmztgmztgmztgmztgmztmn5ad.onion"
  hint: It has a wrong character somewhere. Write the 56 characters and .onion as the other relay shows them.

error: onion is missing
  on server.hcl line 26, column 16, in server "two", peer "carol":
  26:   peer "carol" {
  hint: For example: onion = "ONION"

error: unknown option "pause"
  on server.hcl line 27, column 5, in server "two", peer "carol":
  27:     pause = true
  hint: Did you mean "paused"?

error: onion is not the address of an onion service
  on server.hcl line 30, column 13, in server "two", peer "dan":
  30:     onion = "http://lbtgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztmn5ad.onion/"
  hint: It is written as a link: leave out what is before and behind the address. Write the 56 characters and .onion as the other relay shows them.

error: onion is not the address of an onion service
  on server.hcl line 33, column 13, in server "two", peer "erin":
  33:     onion = "lbtgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztgmztmn5ad.onion:9878"
  hint: It has a port: leave it out, all boards have the same one. Write the 56 characters and .onion as the other relay shows them.

error: second peer with this onion
  on server.hcl line 36, column 13, in server "two", peer "frank":
  36:     onion = "LBTGMZTGMZTGMZTGMZTGMZTGMZTGMZTGMZTGMZTGMZTGMZTGMZTMN5AD.onion"
  hint: There is one already, on line 14.
