network "tor" {}
server "a" {}
server "b" {}
server "a" {}
----------
error: second server "a"
  on server.hcl line 4, column 8, in server "a":
  4: server "a" {}
  hint: There is one already, on line 2. Servers need names of their own.
