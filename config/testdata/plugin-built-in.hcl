network "tor" {}
server "main" {}
plugin "storage" "bolt" {
  path = "x"
  checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
}
----------
error: plugin "bolt" is built in
  on server.hcl line 3, column 18, in plugin "storage" "bolt":
  3: plugin "storage" "bolt" {
  hint: Leave this block out, or use a plugin of another name.
