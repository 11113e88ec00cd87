network "tor" {}
plugin "storage" "attic" {
  path = "/opt/attic"
  dev  = true
}
server "main" {
  storage "attic" {}
  retention {
    min_age   = "8d"
    max_bytes = "1GiB"
    max_count = 5000
    keep_free = "2GiB"
  }
}
server "reserve" {
  storage "attic" {}
  retention {
    keep_free = "2GiB"
  }
}
----------
error: storage plugin "attic" cannot remove envelopes, so max_bytes would have no effect
  on server.hcl line 10, column 17, in server "main", retention:
  10:     max_bytes = "1GiB"
  hint: Leave it out, and everything is kept; or use a storage plugin with the capability storage.prune.
