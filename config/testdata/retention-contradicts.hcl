network "tor" {}
server "main" {
  retention {
    max_age = "7d"
    min_age = "8d"
  }
}
server "short" {
  retention {
    max_age = "7d"
  }
}
----------
error: min_age is longer than max_age
  on server.hcl line 5, column 15, in server "main", retention:
  5:     min_age = "8d"
  hint: What is older than max_age goes in any case. Write a shorter min_age, or leave it out.
