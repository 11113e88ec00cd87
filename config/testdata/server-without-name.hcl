network "tor" {}
server {}
----------
error: missing name for server
  on server.hcl line 2, column 8, in server:
  2: server {}
  hint: All server blocks must have 1 labels (name).
