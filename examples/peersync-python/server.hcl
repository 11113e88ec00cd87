# A relay on this machine only, with the plugin that ./build.sh makes.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "peersync" "flood_python" {
  path     = "cwtch-peersync-flood_python"
  checksum = file("cwtch-peersync-flood_python.sum")

  # The libraries of the plugin, and how Python finds them.
  sandbox {
    read = ["venv"]
  }
}

server "try" {
  peersync "flood_python" {}
}
