network "tor" {}
server "" {}
----------
error: the name of a server is 1 to 64 of a-z, 0-9 and -
  on server.hcl line 2, column 8, in server "":
  2: server "" {}
  hint: For example: server "book-club". A description may hold anything.
