network "tor" {}
plugin "stats" "odd" {
  path = "odd"
  dev  = true
  sandbox {
    enabled = "perhaps"
    memory  = "1KiB"
    files   = 0
    reads   = ["/"]
    read    = [""]
  }
  sandbox {}
}
server "main" {}
----------
error: enabled must be true or false
  on server.hcl line 6, column 15, in plugin "stats" "odd", sandbox:
  6:     enabled = "perhaps"
  hint: For example: enabled = true

error: memory must be a size from 32MiB to 1TiB
  on server.hcl line 7, column 15, in plugin "stats" "odd", sandbox:
  7:     memory  = "1KiB"
  hint: For example: memory = "512MiB"

error: files must be a whole number from 64 to 1048576
  on server.hcl line 8, column 15, in plugin "stats" "odd", sandbox:
  8:     files   = 0
  hint: For example: files = 1024

error: unknown option "reads"
  on server.hcl line 9, column 5, in plugin "stats" "odd", sandbox:
  9:     reads   = ["/"]
  hint: Did you mean "read"?

error: read is empty
  on server.hcl line 10, column 15, in plugin "stats" "odd", sandbox:
  10:     read    = [""]
  hint: Write a path; a relative one starts at the directory of this file.

error: second sandbox block
  on server.hcl line 12, column 3, in plugin "stats" "odd", sandbox:
  12:   sandbox {}
  hint: There is one already, on line 5.
