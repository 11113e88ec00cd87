network "tor" {}
server "main" {}
plugin "storage" "../sqlite" {
  path = "x"
  checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
}
----------
error: the name of a plugin is at most 64 of a-z, 0-9 and _, a letter first
  on server.hcl line 3, column 18, in plugin "storage" "../sqlite":
  3: plugin "storage" "../sqlite" {
  hint: Use the name that the plugin gives itself.
