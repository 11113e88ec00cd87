about                = "What does mesh cost against naive flooding and against copying the whole log? Five core peers whose links break now and then."
duration             = "48h"
settle               = "12h"
algorithms           = ["mesh", "flood", "copy"]
max_overhead_percent = 150

peers "home" {
  count   = 5
  trace   = "churn"
  online  = "90%"
  session = "12h"
}

members "people" { count = 20 }

posts { per_hour = 100 }

link { cut_every = "4h" }
