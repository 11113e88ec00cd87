network "tor" {}
console {}
console {}
----------
error: second console block
  on server.hcl line 3, column 1, in console:
  3: console {}
  hint: There is one already, on line 2.
