# A relay on this machine alone, with the plugin that build.sh has made.

data_dir = "data"

network "loopback" { registry = "reg" }

plugin "storage" "python" {
  path = "storage-python.pyz"

  # What build.sh has written, so that this file works wherever you build. On a
  # relay that others rely on, write the sum itself here.
  checksum = file("storage-python.sum")

  # The libraries of the plugin, and how Python finds them. It reads the system's
  # directories, its own file and its own directory without being granted them.
  sandbox {
    read = ["venv"]
  }
}

server "try" {
  storage "python" {
    path = "messages.db"
  }
}
