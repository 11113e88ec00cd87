# A relay on this machine only, with the plugin that "go build -o storage-postgres ."
# makes, and a PostgreSQL of this machine.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "storage" "postgres" {
  path = "storage-postgres"

  # This is for while you change the program. Before others run it, replace the line by
  # the one that "cwtch-relay plugin sum storage-postgres" prints.
  dev = true

  sandbox {
    sockets = ["/run/postgresql"]
  }
}

server "try" {
  storage "postgres" {
    schema = "try"
  }
}
