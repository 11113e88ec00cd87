about      = "Everything that goes wrong by itself: crashes, a restored backup, clocks that jump, other retention on one side, links that break."
duration   = "72h"
settle     = "12h"
algorithms = ["mesh"]
seeds      = 3

peers "home" {
  count     = 3
  trace     = "churn"
  online    = "85%"
  session   = "8h"
  retention = "168h"
}

peers "short" { retention = "24h" }

peers "late" {
  skew      = "-50m"
  retention = "168h"
}

members "people" { count = 12 }

posts { per_hour = 30 }

link { cut_every = "1h" }

restart "crash" {
  peers = ["home", "short"]
  at    = "5h"
  every = "9h"
}

restore "backup" {
  peers = ["home.1"]
  at    = "40h"
  age   = "6h"
}

clock "jump" {
  peers = ["home.2"]
  at    = "20h"
  until = "26h"
  by    = "-24h"
}

partition "cable" {
  peers = ["late"]
  at    = "30h"
  heal  = "33h"
}
