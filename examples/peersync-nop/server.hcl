# A relay on this machine only, with the plugin that "go build -o peersync-nop ."
# makes.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "peersync" "nop" {
  path = "peersync-nop"

  # This is for while you change the program. Before others run it, replace the line by
  # the one that "cwtch-relay plugin sum peersync-nop" prints.
  dev = true
}

server "try" {
  peersync "nop" {}
}
