network "tor" {}
server "main" {
  passphrase = "correct horse"
}
server "b" { passphrase = "x${1}" }
----------
error: the passphrase must not stand in this file
  on server.hcl line 3, column 16, in server "main":
  3:   passphrase = …
  hint: Write passphrase = file("PATH") or passphrase = env("NAME").

error: the passphrase must not stand in this file
  on server.hcl line 5, column 27, in server "b":
  5: server "b" { passphrase = …
  hint: Write passphrase = file("PATH") or passphrase = env("NAME").
