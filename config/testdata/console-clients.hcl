network "tor" {}
console {
  onion         = true
  onion_clients = ["x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "descriptor:x25519:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
}
----------
error: element 1 of onion_clients is not the public key of a client
  on server.hcl line 4, column 19, in console:
  4:   onion_clients = ["x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "descriptor:x25519:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
  hint: Write the 52 characters behind x25519: in its .auth file.

error: element 3 of onion_clients is there twice
  on server.hcl line 4, column 19, in console:
  4:   onion_clients = ["x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "descriptor:x25519:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
  hint: Leave one out.
