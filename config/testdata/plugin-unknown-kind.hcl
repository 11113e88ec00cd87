network "tor" {}
server "main" {}
plugin "storge" "sqlite" {
  path = "x"
  checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
}
----------
error: unknown kind of plugin "storge"
  on server.hcl line 3, column 8, in plugin "storge" "sqlite":
  3: plugin "storge" "sqlite" {
  hint: Did you mean "storage"?
