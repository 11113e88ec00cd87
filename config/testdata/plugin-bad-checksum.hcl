network "tor" {}
server "main" {}
plugin "storage" "sqlite" {
  path = "x"
  checksum = "md5:00"
}
----------
error: checksum is not a SHA-256
  on server.hcl line 5, column 14, in plugin "storage" "sqlite":
  5:   checksum = "md5:00"
  hint: Write "sha256:" and 64 hexadecimal digits, as sha256sum prints them.
