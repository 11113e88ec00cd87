network "tor" {}
console {
  port = 7480
}
----------
error: unknown option "port"
  on server.hcl line 3, column 3, in console:
  3:   port = 7480
  hint: Known options: listen, onion, onion_clients.
