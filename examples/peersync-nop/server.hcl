# A relay on this machine alone, with the plugin that "go build -o peersync-nop ."
# has made.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "peersync" "nop" {
  path = "peersync-nop"

  # While you change the program. For others, put the line that
  # "cwtch-relay plugin sum peersync-nop" prints in place of it.
  dev = true
}

server "try" {
  peersync "nop" {}
}
