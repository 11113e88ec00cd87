about      = "One of four core peers has 4 KiB a second, 3 s more latency and a link that breaks every half hour or so."
duration   = "36h"
settle     = "12h"
algorithms = ["mesh", "flood", "copy"]

peers "home" { count = 3 }

peers "village" {
  bandwidth = "4KiB"
  latency   = "3s"
}

link { cut_every = "30m" }

members "people" {
  count = 20
  reads = 1
}

posts { per_hour = 60 }
