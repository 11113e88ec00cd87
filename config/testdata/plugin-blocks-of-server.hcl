network "tor" {}
server "main" {
  peer_sync "mesh" {}
  stat "prometheus" {}
  stats {}
  storage "bolt" {}
  storage "bolt" {}
}
server "other" {
  stats "prometheus" {}
}
----------
error: unknown block "peer_sync"
  on server.hcl line 3, column 3, in server "main", peer_sync "mesh":
  3:   peer_sync "mesh" {}
  hint: Did you mean "peersync"?

error: unknown block "stat"
  on server.hcl line 4, column 3, in server "main", stat "prometheus":
  4:   stat "prometheus" {}
  hint: Did you mean "stats"?

error: missing name for stats
  on server.hcl line 5, column 9, in server "main", stats:
  5:   stats {}
  hint: Write it as: stats "NAME" { … }.

error: second storage block
  on server.hcl line 7, column 3, in server "main", storage "bolt":
  7:   storage "bolt" {}
  hint: There is one already, on line 6.

error: unknown stats plugin "prometheus"
  on server.hcl line 10, column 9, in server "other", stats "prometheus":
  10:   stats "prometheus" {}
  hint: There are no stats plugins here. Others need a block: plugin "stats" "NAME" { … }.
