network "tor" {}
server "main" {}
plugin "storage" "sqlite" {
  path = "x"
}
----------
error: plugin without a checksum
  on server.hcl line 3, column 1, in plugin "storage" "sqlite":
  3: plugin "storage" "sqlite" {
  hint: Paste the line that "cwtch-relay plugin sum PATH" prints. While developing it: dev = true.
