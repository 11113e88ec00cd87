network "tor" {}
server "a" {
  stats "prometheus" {}
}
----------
error: unknown stats plugin "prometheus"
  on server.hcl line 3, column 9, in server "a", stats "prometheus":
  3:   stats "prometheus" {}
  hint: There are no stats plugins here. Others need a block: plugin "stats" "NAME" { … }.
