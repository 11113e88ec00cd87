network "tor" { 
  control      = "[::1]:9051"
  control_user = "debian-tor"
}
server "main" {}
----------
error: control is a TCP port, and control_cookie does not name the cookie of tor: whoever listens there while tor does not would get the keys of all servers
  on server.hcl line 2, column 18, in network "tor":
  2:   control      = "[::1]:9051"
  hint: Better write control = "unix:/run/tor/control" here, and ControlSocket /run/tor/control in torrc. Or write control_cookie = "/run/tor/control.authcookie" here, and in torrc CookieAuthentication 1 and CookieAuthFile /run/tor/control.authcookie. If tor runs as a user of its own, add control_user = "debian-tor".
