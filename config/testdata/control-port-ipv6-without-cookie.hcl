network "tor" { 
  control      = "[::1]:9051"
  control_user = "debian-tor"
}
server "main" {}
