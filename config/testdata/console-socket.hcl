network "tor" {}
console {
  listen = "unix:"
}
log { level = "info" }
----------
error: listen is empty
  on server.hcl line 3, column 12, in console:
  3:   listen = "unix:"
  hint: Write a path; a relative one starts at the directory of this file.
