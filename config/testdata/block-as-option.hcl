network "tor" {}
log = "debug"
server "main" {}
----------
error: "log" is a block, not an option
  on server.hcl line 2, column 1:
  2: log = "debug"
  hint: Write it without the equals sign: log { … }.
