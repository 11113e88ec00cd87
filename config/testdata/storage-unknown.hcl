network "tor" {}
server "a" {
  storage "blot" {}
}
server "b" {
  storage "postgres" {}
}
----------
error: unknown storage plugin "blot"
  on server.hcl line 3, column 11, in server "a", storage "blot":
  3:   storage "blot" {}
  hint: Did you mean "bolt"? Others need a block: plugin "storage" "NAME" { … }.

error: unknown storage plugin "postgres"
  on server.hcl line 6, column 11, in server "b", storage "postgres":
  6:   storage "postgres" {}
  hint: Known storage plugins: bolt. Others need a block: plugin "storage" "NAME" { … }.
