# A relay on this machine only, with the plugin that "go build -o peersync-flood ."
# makes.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "peersync" "flood" {
  path = "peersync-flood"

  # This is for while you change the program. Before others run it, replace the line by
  # the one that "cwtch-relay plugin sum peersync-flood" prints.
  dev = true
}

server "try" {
  peersync "flood" {}
}
