# A relay on this machine only, with the plugin that "go build -o stats-stdout ."
# makes.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "stats" "stdout" {
  path = "stats-stdout"

  # This is for while you change the program. Before others run it, replace the line by
  # the one that "cwtch-relay plugin sum stats-stdout" prints.
  dev = true
}

server "try" {
  stats "stdout" {
    path = "numbers.jsonl"
  }
}
