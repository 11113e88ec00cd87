network "tor" {}
network "loopback" { registry = "r" }
server "main" {}
----------
error: second network block
  on server.hcl line 2, column 1, in network "loopback":
  2: network "loopback" { registry = "r" }
  hint: There is one already, on line 1.
