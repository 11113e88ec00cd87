data_dir = "${HOME}/relay"
network "tor" {}
server "main" { description = "${ var.name }" }
----------
error: there is no variable "HOME" here
  on server.hcl line 1, column 15:
  1: data_dir = "${HOME}/relay"
  hint: For an environment variable write ${env("HOME")}; for the characters themselves, $${ in place of ${.

error: there is no variable "var" here
  on server.hcl line 3, column 35, in server "main":
  3: server "main" { description = "${ var.name }" }
  hint: For an environment variable write ${env("var")}; for the characters themselves, $${ in place of ${.
