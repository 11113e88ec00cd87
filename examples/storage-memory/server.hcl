# A relay on this machine alone, with the plugin that "go build -o storage-memory ."
# has made.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "storage" "memory" {
  path = "storage-memory"

  # While you change the program. For others, put the line that
  # "cwtch-relay plugin sum storage-memory" prints in place of it.
  dev = true
}

server "try" {
  storage "memory" {
    max_bytes = "16MiB"
  }
}
