data_dir = home
network "tor" {}
server "main" {}
----------
error: there is no variable "home" here
  on server.hcl line 1, column 12:
  1: data_dir = home
  hint: Text is in quotes: "home". Else there are env("NAME"), an environment variable, and file("PATH"), the content of a file.
