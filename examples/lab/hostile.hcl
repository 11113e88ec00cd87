about      = "Four honest core peers, and four listed ones that do all that is wrong. Members read from honest ones."
duration   = "12h"
settle     = "6h"
algorithms = ["mesh", "flood"]

peers "home" {
  count   = 4
  trace   = "churn"
  online  = "80%"
  session = "6h"
}

peers "withholding" { hostile = ["withholds", "lies"] }

peers "flooding" {
  hostile            = ["floods"]
  flood_per_hour     = 200
  envelopes_per_hour = 100
}

peers "replaying" { hostile = ["replays", "wrong-born"] }

peers "confused" { hostile = ["rolls-back", "garbage"] }

members "people" { count = 20 }

posts { per_hour = 30 }
