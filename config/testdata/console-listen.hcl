network "tor" {}
console {
  listen = "localhost:7480"
}
----------
error: listen is not an address of the console
  on server.hcl line 3, column 12, in console:
  3:   listen = "localhost:7480"
  hint: Write an address such as "127.0.0.1:7480", or "unix:" and the path of a socket. To see the pages from another machine, keep them here and use: ssh -L 7480:127.0.0.1:7480 HOST.
