network "tor" {}
server "main" {
  description = env()
}
server "b" {
  description = env("A", "B")
}
server "c" {
  description = env(null)
}
----------
error: not enough function arguments
  on server.hcl line 3, column 21, in server "main":
  3:   description = env()
  hint: Function "env" expects 1 argument(s). Missing value for "name".

error: too many function arguments
  on server.hcl line 6, column 27, in server "b":
  6:   description = env("A", "B")
  hint: Function "env" expects only 1 argument(s).

error: env: argument must not be null
  on server.hcl line 9, column 21, in server "c":
  9:   description = env(null)
  hint: Set the variable where the relay is started.
