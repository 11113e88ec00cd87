about      = "Short and rough runs that look for faults: about everything that can go wrong, in little time."
duration   = "3h"
settle     = "30m"
algorithms = ["mesh"]
seeds      = 1000
peers "home" {
  count   = 3
  trace   = "churn"
  online  = "70%"
  session = "40m"
}
peers "short" { retention = "1h" }
peers "hostile" { hostile = ["withholds", "lies", "replays", "wrong-born", "garbage", "rolls-back"] }
members "people" { count = 4 }
posts { per_hour = 12 }
link { cut_every = "15m" }
disk { fail = "1%" }
restart "crash" {
  peers = ["home"]
  at    = "20m"
  every = "35m"
}
restore "backup" {
  peers = ["home.0"]
  at    = "100m"
  age   = "30m"
}
partition "cable" {
  peers = ["home.1"]
  at    = "50m"
  heal  = "80m"
}
clock "jump" {
  peers = ["home.2"]
  at    = "90m"
  until = "2h"
  by    = "-24h"
}
