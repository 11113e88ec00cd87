network "tor" { control = "192.0.2.1:9051" }
server "main" {}
----------
error: control is not the address of a control port on this machine
  on server.hcl line 1, column 27, in network "tor":
  1: network "tor" { control = "192.0.2.1:9051" }
  hint: Write an address such as "127.0.0.1:9051", or "unix:" and an absolute path.
