about      = "Relays in offices of one time zone, with members at home in the evening as well."
duration   = "168h"
settle     = "48h"
algorithms = ["mesh"]
seeds      = 3

peers "office" {
  count = 4
  trace = "office"
}

members "staff" {
  count = 12
  trace = "office"
}

members "evening" {
  count = 4
  trace = "office"
  from  = 18
  to    = 23
}

posts { per_hour = 12 }
