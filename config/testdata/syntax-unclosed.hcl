network "tor" {
server "main" {}
----------
error: unclosed configuration block
  on server.hcl line 1, column 15, in network "tor":
  1: network "tor" {
  hint: There is no closing brace for this block before the end of the file. This may be caused by incorrect brace nesting elsewhere in this file.
