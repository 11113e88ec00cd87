# A relay on this machine only, with the plugin that "go build -o storage-memory ."
# makes.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "storage" "memory" {
  path = "storage-memory"

  # This is for while you change the program. Before others run it, replace the line by
  # the one that "cwtch-relay plugin sum storage-memory" prints.
  dev = true
}

server "try" {
  storage "memory" {
    max_bytes = "16MiB"
  }
}
