data_dir = "data"
network "tor" {}
plugin "stats" "above" {
  path = "above"
  dev  = true
  sandbox { read = ["venv", "."] }
}
plugin "stats" "below" {
  path = "below"
  dev  = true
  sandbox { read = ["data/servers/main"] }
}
plugin "stats" "beside" {
  path = "beside"
  dev  = true
  sandbox { read = ["data-of-others"] }
}
server "main" {
  stats "above" {}
}
----------
error: DIR is not apart from DIR/data, where the keys are
  on server.hcl line 6, column 20, in plugin "stats" "above", sandbox:
  6:   sandbox { read = ["venv", "."] }
  hint: Grant less, or move what the plugin needs to elsewhere. Whoever trusts it with the keys can write enabled = false.

error: DIR/data/servers/main is not apart from DIR/data, where the keys are
  on server.hcl line 11, column 20, in plugin "stats" "below", sandbox:
  11:   sandbox { read = ["data/servers/main"] }
  hint: Grant less, or move what the plugin needs to elsewhere. Whoever trusts it with the keys can write enabled = false.
