about      = "The same with offices in San Francisco, London and Singapore: somebody's working day is always under way, except at weekends."
duration   = "168h"
settle     = "48h"
algorithms = ["mesh"]
seeds      = 3

peers "office" {
  count = 6
  trace = "office"
  zones = ["-8", "0", "8"]
}

members "staff" {
  count = 12
  trace = "office"
  zones = ["-8", "0", "8"]
}

posts { per_hour = 12 }
