network "tor" { torrc = ["SafeLogging 1", "A 1\nB 2"] }
server "main" {}
----------
error: torrc holds a line break or another control character
  on server.hcl line 1, column 25, in network "tor":
  1: network "tor" { torrc = ["SafeLogging 1", "A 1\nB 2"] }
  hint: Write each line as a string of its own.
