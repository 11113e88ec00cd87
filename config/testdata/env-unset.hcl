network "tor" {}
server "main" {
  description = env("CWTCH_RELAY_UNSET")
}
----------
error: env: the environment variable "CWTCH_RELAY_UNSET" is not set
  on server.hcl line 3, column 17, in server "main":
  3:   description = env("CWTCH_RELAY_UNSET")
  hint: Set the variable where the relay is started.
