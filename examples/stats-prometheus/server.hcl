# A relay on this machine only, with the plugin that "go build -o stats-prometheus ."
# makes. Two servers, each with its own address.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "stats" "prometheus" {
  path = "stats-prometheus"

  # This is for while you change the program. Before others run it, replace the line by
  # the one that "cwtch-relay plugin sum stats-prometheus" prints.
  dev = true
}

server "try" {
  stats "prometheus" {
    listen = "127.0.0.1:9464"
  }
}

server "club" {
  stats "prometheus" {
    listen = "127.0.0.1:9465"
  }
}
