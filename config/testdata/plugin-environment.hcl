network "tor" {}
plugin "stats" "odd" {
  path = "odd"
  dev  = true
  env  = ["A=1", "A=2"]
}
plugin "stats" "odder" {
  path = "odd"
  dev  = true
  env  = ["not a name=${env("CWTCH_RELAY_SECRET")}"]
}
plugin "stats" "oddest" {
  path = "odd"
  dev  = true
  env  = ["PATH=/bin"]
}
server "main" {}
----------
error: the variable A is there twice
  on server.hcl line 5, column 10, in plugin "stats" "odd":
  5:   env  = ["A=1", "A=2"]
  hint: Leave one out.

error: element 1 of env is not a variable
  on server.hcl line 10, column 10, in plugin "stats" "odder":
  10:   env  = ["not a name=${env("CWTCH_RELAY_SECRET")}"]
  hint: Write each as "NAME=value".

error: the variable PATH is set by the relay
  on server.hcl line 15, column 10, in plugin "stats" "oddest":
  15:   env  = ["PATH=/bin"]
  hint: Leave it out.
