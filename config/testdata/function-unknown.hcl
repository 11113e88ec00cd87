network "tor" {}
server "main" {
  description = "${file("secret")}${upper("x")}"
}
----------
error: call to unknown function
  on server.hcl line 3, column 37, in server "main":
  3:   description = "${file("secret")}${upper("x")}"
  hint: There is no function named "upper".
