network "tor" {}
server "Book Club" {}
----------
error: the name of a server is 1 to 64 of a-z, 0-9 and -
  on server.hcl line 2, column 8, in server "Book Club":
  2: server "Book Club" {}
  hint: For example: server "book-club". A description may hold anything.
