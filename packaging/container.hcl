# The configuration of the container image. Mount a file of your own at this place to change it;
# docs/configuration.md has every option.
#
# There is no console: in a container it could only be reached from inside. "docker exec NAME
# cwtch-relay server add SERVER" adds servers; they are in the volume, too.

data_dir = "/var/lib/cwtch-relay"

network "tor" {}

server "main" {}
