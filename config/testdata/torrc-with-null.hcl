network "tor" { torrc = ["SafeLogging 1", null] }
server "main" {}
----------
error: torrc must be a list of strings of at most 256 elements
  on server.hcl line 1, column 25, in network "tor":
  1: network "tor" { torrc = ["SafeLogging 1", null] }
  hint: For example: torrc = ["TEXT"]
