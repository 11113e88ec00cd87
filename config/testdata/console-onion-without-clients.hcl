network "tor" {}
console {
  onion = true
}
----------
error: the onion service of the console has no clients: whoever learned its address could try keys there
  on server.hcl line 3, column 11, in console:
  3:   onion = true
  hint: Write onion_clients = ["KEY"], with the public key of the client in your Tor Browser, or leave onion out.
