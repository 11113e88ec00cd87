# The configuration of the service cwtch-relay. docs/configuration.md has every option, and
# "cwtch-relay init" writes a file with all of them.
#
# Servers are added with "sudo -u cwtch-relay cwtch-relay server add NAME", or in the console,
# whose address "sudo -u cwtch-relay cwtch-relay console" prints. They become files of their own
# in /var/lib/cwtch-relay/servers.d. They can stand here as well, as blocks server "NAME" {}.

data_dir = "/var/lib/cwtch-relay"

network "tor" {}

console {}
