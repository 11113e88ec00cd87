network "tor" {}
server "main" {
  passphrase = correct
}
----------
error: the passphrase must not stand in this file
  on server.hcl line 3, column 16, in server "main":
  3:   passphrase = …
  hint: Write passphrase = file("PATH") or passphrase = env("NAME").
