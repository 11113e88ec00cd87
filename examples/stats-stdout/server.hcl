# A relay on this machine alone, with the plugin that "go build -o stats-stdout ."
# has made.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "stats" "stdout" {
  path = "stats-stdout"

  # While you change the program. For others, put the line that
  # "cwtch-relay plugin sum stats-stdout" prints in place of it.
  dev = true
}

server "try" {
  stats "stdout" {
    path = "numbers.jsonl"
  }
}
