about      = "Members with phones: twelve sessions of four minutes a day. Two core peers at home are mostly online."
duration   = "96h"
settle     = "48h"
algorithms = ["mesh"]
seeds      = 3

peers "home" {
  count   = 2
  trace   = "churn"
  online  = "80%"
  session = "8h"
}

members "phone" {
  count    = 20
  trace    = "phone"
  sessions = 12
  session  = "4m"
}

posts { per_hour = 120 }
