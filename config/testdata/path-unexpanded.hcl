data_dir = "$NOT_SET_ANYWHERE/relay"
network "tor" { control = "unix:$NOT_SET_ANYWHERE/control" }
server "main" {}
plugin "stats" "x" {
  path = "%Z/plugin"
  dev  = true
  sandbox { read = ["/srv", "$${NOT_SET_ANYWHERE}/x"] }
}
----------
error: data_dir begins with $NOT_SET_ANYWHERE, which is not expanded here
  on server.hcl line 1, column 12:
  1: data_dir = "$NOT_SET_ANYWHERE/relay"
  hint: Write data_dir = "/home/me/relay". A relative path starts at the directory of this file; a name that really begins so is "./$NOT_SET_ANYWHERE/relay".

error: the path of control begins with $NOT_SET_ANYWHERE, which is not expanded here
  on server.hcl line 2, column 27, in network "tor":
  2: network "tor" { control = "unix:$NOT_SET_ANYWHERE/control" }
  hint: Write control = "unix:/home/me/control".

error: path begins with %Z, which is not expanded here
  on server.hcl line 5, column 10, in plugin "stats" "x":
  5:   path = "%Z/plugin"
  hint: Write path = "/home/me/plugin". A relative path starts at the directory of this file; a name that really begins so is "./%Z/plugin".

error: read begins with ${NOT_SET_ANYWHERE}, which is not expanded here
  on server.hcl line 7, column 20, in plugin "stats" "x", sandbox:
  7:   sandbox { read = ["/srv", "$${NOT_SET_ANYWHERE}/x"] }
  hint: Write read = ["/home/me/x"]. A relative path starts at the directory of this file; a name that really begins so is "./$${NOT_SET_ANYWHERE}/x".
