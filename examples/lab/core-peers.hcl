about      = "How many core peers must be online how often? The members are always online, so that only the core peers decide how late a message is."
duration   = "96h"
settle     = "24h"
algorithms = ["mesh"]
seeds      = 5
heal       = false

peers "home" {
  trace   = "churn"
  session = "4h"
}

members "people" { count = 20 }

posts { per_hour = 6 }

sweep {
  group  = "home"
  counts = ["1", "2", "3", "5", "8"]
  online = ["5%", "10%", "20%", "35%", "50%", "75%", "90%"]
}
