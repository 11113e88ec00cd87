network "tor" {}
server "a" {
  stats "prometheus" {}
}
----------
error: unknown block "stats"
  on server.hcl line 3, column 3, in server "a", stats "prometheus":
  3:   stats "prometheus" {}
  hint: Known blocks: storage.
