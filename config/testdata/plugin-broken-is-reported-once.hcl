network "tor" {}
plugin "storage" "sqlite" {
  pat = "x"
}
server "main" {
  storage "sqlite" { path = "y" }
}
----------
error: plugin without a checksum
  on server.hcl line 2, column 1, in plugin "storage" "sqlite":
  2: plugin "storage" "sqlite" {
  hint: Paste the line that "cwtch-relay plugin sum PATH" prints. While developing it: dev = true.

error: path is missing
  on server.hcl line 2, column 27, in plugin "storage" "sqlite":
  2: plugin "storage" "sqlite" {
  hint: For example: path = "PATH"

error: unknown option "pat"
  on server.hcl line 3, column 3, in plugin "storage" "sqlite":
  3:   pat = "x"
  hint: Did you mean "path"?
