network "tor" {}
server "a" {
  storage "bolt" {}
  storage "bolt" { path = "x" }
}
----------
error: second storage block
  on server.hcl line 4, column 3, in server "a", storage "bolt":
  4:   storage "bolt" { path = "x" }
  hint: There is one already, on line 3.
