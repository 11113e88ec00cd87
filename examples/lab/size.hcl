about      = "What do more core peers cost? Every one of them is always online and linked with all others."
duration   = "24h"
settle     = "6h"
algorithms = ["mesh", "flood"]

peers "home" {}

members "people" { count = 20 }

posts { per_hour = 30 }

sweep {
  group  = "home"
  counts = ["2", "4", "8", "12"]
}
