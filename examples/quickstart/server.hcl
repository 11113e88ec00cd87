# The smallest useful configuration: one server, reached over Tor. Every other
# option has a default; "cwtch-relay init" writes a file that shows them all.

data_dir = "data"

network "tor" {}

server "book-club" {
  description = "for the people of our reading group"

  storage "bolt" {
    path = "messages.db"
  }
}
