network "tor" {}
console {
  listen = "0.0.0.0:7480"
}
----------
error: other machines could reach the console at 0.0.0.0:7480
  on server.hcl line 3, column 12, in console:
  3:   listen = "0.0.0.0:7480"
  hint: Write an address such as "127.0.0.1:7480", or "unix:" and the path of a socket. To see the pages from another machine, keep them here and use: ssh -L 7480:127.0.0.1:7480 HOST.
