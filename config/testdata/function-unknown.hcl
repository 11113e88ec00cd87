network "tor" {}
server "main" {
  description = "${file("secret")}${upper("x")}"
}
----------
error: call to unknown function
  on server.hcl line 3, column 37, in server "main":
  3:   description = "${file("secret")}${upper("x")}"
  hint: There is no function named "upper". There are env("NAME"), an environment variable, and file("PATH"), the content of a file.
