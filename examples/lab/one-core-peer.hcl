about      = "One core peer that is always online, and nobody else: a server. To compare the others with."
duration   = "48h"
settle     = "24h"
algorithms = ["mesh"]

peers "server" {}

members "phone" {
  count    = 20
  trace    = "phone"
  sessions = 12
  session  = "4m"
}

posts { per_hour = 120 }
