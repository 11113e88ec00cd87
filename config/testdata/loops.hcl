network "tor" {}
server "main" {
  description = [for x in ["a"]: x]
}
server "b" {
  description = ["a"][*]
}
----------
error: loops are not supported
  on server.hcl line 3, column 17, in server "main":
  3:   description = [for x in ["a"]: x]
  hint: Write the values out.

error: loops are not supported
  on server.hcl line 6, column 17, in server "b":
  6:   description = ["a"][*]
  hint: Write the values out.
