# A relay on this machine alone, with the plugin that "go build -o stats-prometheus ."
# has made. Two servers, each with an address of its own.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "stats" "prometheus" {
  path = "stats-prometheus"

  # While you change the program. For others, put the line that
  # "cwtch-relay plugin sum stats-prometheus" prints in place of it.
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
