network "tor" {}
server "a" {
  description = file("absent")
}
server "b" {
  description = file("large")
}
server "c" {
  description = file("binary")
}
server "d" {
  description = file("open")
}
----------
error: file: open DIR/absent: no such file or directory
  on server.hcl line 3, column 17, in server "a":
  3:   description = file("absent")
  hint: The path of a text file of at most 64 KiB; a relative one starts at the directory of this file.

error: file: read DIR/large: larger than 64 KiB
  on server.hcl line 6, column 17, in server "b":
  6:   description = file("large")
  hint: The path of a text file of at most 64 KiB; a relative one starts at the directory of this file.

error: file: DIR/binary is not UTF-8 text
  on server.hcl line 9, column 17, in server "c":
  9:   description = file("binary")
  hint: The path of a text file of at most 64 KiB; a relative one starts at the directory of this file.

error: file: read DIR/open: not a regular file
  on server.hcl line 12, column 17, in server "d":
  12:   description = file("open")
  hint: The path of a text file of at most 64 KiB; a relative one starts at the directory of this file.
