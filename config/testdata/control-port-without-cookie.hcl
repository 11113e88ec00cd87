network "tor" { control = "127.0.0.1:9051" }
server "main" {}
----------
error: control is a TCP port, and control_cookie does not name the cookie of tor: whoever listens there while tor does not would get the keys of all servers
  on server.hcl line 1, column 27, in network "tor":
  1: network "tor" { control = "127.0.0.1:9051" }
  hint: Better write control = "unix:/run/tor/control" here, and ControlSocket /run/tor/control in torrc. Or write control_cookie = "/run/tor/control.authcookie" here, and in torrc CookieAuthentication 1 and CookieAuthFile /run/tor/control.authcookie. If tor runs as a user of its own, add control_user = "debian-tor".
