network "tor" {
  path = 
}
server "main" {
  description = "open
}
----------
error: invalid expression
  on server.hcl line 2, column 10, in network "tor":
  2:   path =
  hint: Expected the start of an expression, but found an invalid expression token.

error: invalid multi-line string
  on server.hcl line 5, column 22, in server "main":
  5:   description = "open
  hint: Quoted strings may not be split over multiple lines. To produce a multi-line string, either use the \n escape to represent a newline character or use the "heredoc" multi-line template syntax.

error: invalid multi-line string
  on server.hcl line 6, column 2, in server "main":
  6: }
  hint: Quoted strings may not be split over multiple lines. To produce a multi-line string, either use the \n escape to represent a newline character or use the "heredoc" multi-line template syntax.
