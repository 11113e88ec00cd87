network "tor" {}
server "main" {}
plugin "storage" "sqlite" {
  path = "x"
  checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
}
plugin "storage" "sqlite" {
  path = "x"
  dev = true
}
----------
error: second plugin "storage" "sqlite"
  on server.hcl line 7, column 18, in plugin "storage" "sqlite":
  7: plugin "storage" "sqlite" {
  hint: There is one already, on line 3.
