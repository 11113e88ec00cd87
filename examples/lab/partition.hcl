about      = "Two of five core peers are cut off for six hours, while members post to both sides."
duration   = "36h"
settle     = "12h"
algorithms = ["mesh", "flood", "copy"]

peers "west" { count = 3 }
peers "east" { count = 2 }

members "people" {
  count = 20
  reads = 1
}

posts { per_hour = 60 }

partition "cable" {
  peers = ["east"]
  at    = "12h"
  heal  = "18h"
}
