data_dir = ""
network "loopback" { registry = "" }
server "main" {}
----------
error: data_dir is empty
  on server.hcl line 1, column 12:
  1: data_dir = ""
  hint: Write a path; a relative one starts at the directory of this file.

error: registry is empty
  on server.hcl line 2, column 33, in network "loopback":
  2: network "loopback" { registry = "" }
  hint: Write a path; a relative one starts at the directory of this file.
