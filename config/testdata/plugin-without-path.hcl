network "tor" {}
server "main" {}
plugin "storage" "sqlite" {
  checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
}
----------
error: path is missing
  on server.hcl line 3, column 27, in plugin "storage" "sqlite":
  3: plugin "storage" "sqlite" {
  hint: For example: path = "PATH"
