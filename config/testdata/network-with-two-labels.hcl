network "tor" "two" {}
server "main" {}
----------
error: extraneous label for network
  on server.hcl line 1, column 15, in network "tor" "two":
  1: network "tor" "two" {}
  hint: Write it as: network "KIND" { … }.
