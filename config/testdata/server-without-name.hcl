network "tor" {}
server {}
----------
error: missing name for server
  on server.hcl line 2, column 8, in server:
  2: server {}
  hint: Write it as: server "NAME" { … }.
