----------
error: no network block
  on server.hcl line 1, column 1:
  1:
  hint: Add network "tor" {}.
