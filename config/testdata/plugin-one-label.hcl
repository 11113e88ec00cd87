network "tor" {}
server "main" {}
plugin "storage" {
  path = "x"
}
----------
error: missing name for plugin
  on server.hcl line 3, column 18, in plugin "storage":
  3: plugin "storage" {
  hint: Write it as: plugin "KIND" "NAME" { … }.
