network "tor" {}
server "main" {
  storage "bolt" {
    pathh = 1
    size  = "1KiB"
    wait  = "2h"
    sync  = "perhaps"
    cache {}
    cache { pages = 1 }
    shard {
      dirs = "a"
      name = "b"
    }
    peer {}
    peer "alice" { mode = "rw" }
    peer "bob" {}
    peer "bob" {}
  }
}
----------
error: unknown option "pathh"
  on server.hcl line 4, column 5, in server "main", storage "bolt":
  4:     pathh = 1
  hint: Did you mean "path"?

error: size must be a size of at least 1MiB
  on server.hcl line 5, column 13, in server "main", storage "bolt":
  5:     size  = "1KiB"
  hint: For example: size = "1GiB"

error: wait must be a duration of at most 1h
  on server.hcl line 6, column 13, in server "main", storage "bolt":
  6:     wait  = "2h"
  hint: For example: wait = "1h"

error: sync must be true or false
  on server.hcl line 7, column 13, in server "main", storage "bolt":
  7:     sync  = "perhaps"
  hint: For example: sync = true

error: pages is missing
  on server.hcl line 8, column 11, in server "main", storage "bolt", cache:
  8:     cache {}
  hint: For example: pages = 1

error: duplicate cache block
  on server.hcl line 9, column 5, in server "main", storage "bolt", cache:
  9:     cache { pages = 1 }
  hint: Only one block of type "cache" is allowed. Previous definition was at server.hcl:8,5-10.

error: dirs must be a list of strings
  on server.hcl line 11, column 14, in server "main", storage "bolt", shard:
  11:       dirs = "a"
  hint: For example: dirs = ["TEXT"]

error: unknown option "name"
  on server.hcl line 12, column 7, in server "main", storage "bolt", shard:
  12:       name = "b"
  hint: Known options: dirs.

error: missing name for peer
  on server.hcl line 14, column 10, in server "main", storage "bolt", peer:
  14:     peer {}
  hint: Write it as: peer "NAME" { … }.

error: mode must be one of "read", "write"
  on server.hcl line 15, column 27, in server "main", storage "bolt", peer "alice":
  15:     peer "alice" { mode = "rw" }
  hint: For example: mode = "read"

error: duplicate peer block
  on server.hcl line 17, column 5, in server "main", storage "bolt", peer "bob":
  17:     peer "bob" {}
  hint: A block for peer "bob" was already defined. The peer labels must be unique.
