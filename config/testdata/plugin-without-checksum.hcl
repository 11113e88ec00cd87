network "tor" {}
server "main" {}
plugin "storage" "sqlite" {
  path = "x"
}
----------
error: plugin without a checksum
  on server.hcl line 3, column 1, in plugin "storage" "sqlite":
  3: plugin "storage" "sqlite" {
  hint: Write checksum = "sha256:…", with what sha256sum prints for the program. While developing it: dev = true.
