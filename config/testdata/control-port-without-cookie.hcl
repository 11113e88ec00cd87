network "tor" { control = "127.0.0.1:9051" }
server "main" {}
