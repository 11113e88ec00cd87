data_dirr = "data"
network "tor" { control = "9051" }
log {
  level = "loud"
}
limits {
  connections = 0
}
plugin "storage" "sqlite" { path = "x" }
server "a" {
  storage "bolt" { pathh = 1 }
}
server "a" {
  storage "blot" {}
}
----------
error: unknown option "data_dirr"
  on server.hcl line 1, column 1:
  1: data_dirr = "data"
  hint: Did you mean "data_dir"?

error: control is not the address of a control port on this machine
  on server.hcl line 2, column 27, in network "tor":
  2: network "tor" { control = "9051" }
  hint: Write an address such as "127.0.0.1:9051", or "unix:" and an absolute path.

error: level must be one of "debug", "info", "warn", "error"
  on server.hcl line 4, column 11, in log:
  4:   level = "loud"
  hint: For example: level = "info"

error: connections must be a whole number from 1 to 65536
  on server.hcl line 7, column 17, in limits:
  7:   connections = 0
  hint: For example: connections = 4096

error: plugin without a checksum
  on server.hcl line 9, column 1, in plugin "storage" "sqlite":
  9: plugin "storage" "sqlite" { path = "x" }
  hint: Paste the line that "cwtch-relay plugin sum PATH" prints. While developing it: dev = true.

error: unknown option "pathh"
  on server.hcl line 11, column 20, in server "a", storage "bolt":
  11:   storage "bolt" { pathh = 1 }
  hint: Did you mean "path"?

error: second server "a"
  on server.hcl line 13, column 8, in server "a":
  13: server "a" {
  hint: There is one already, on line 10. Servers need names of their own.

error: unknown storage plugin "blot"
  on server.hcl line 14, column 11, in server "a", storage "blot":
  14:   storage "blot" {}
  hint: Did you mean "bolt"? Others need a block: plugin "storage" "NAME" { … }.
