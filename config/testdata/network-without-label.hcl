network {}
server "main" {}
----------
error: missing kind for network
  on server.hcl line 1, column 9, in network:
  1: network {}
  hint: Write it as: network "KIND" { … }.
