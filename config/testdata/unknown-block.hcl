network "tor" {}
serer "main" {}
web {}
----------
error: unknown block "serer"
  on server.hcl line 2, column 1, in serer "main":
  2: serer "main" {}
  hint: Did you mean "server"?

error: unknown block "web"
  on server.hcl line 3, column 1, in web:
  3: web {}
  hint: Known blocks: console, limits, log, network, plugin, server.
