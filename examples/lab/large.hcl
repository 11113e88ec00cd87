about      = "Fifty core peers that are online three quarters of the time, a hundred members and 10^5 messages."
duration   = "48h"
settle     = "12h"
algorithms = ["mesh"]

topology {
  shape  = "random"
  degree = 6
}

peers "home" {
  count  = 50
  trace  = "churn"
  online = "75%"
}

members "people" { count = 100 }

posts {
  per_hour = 2100
  min_size = "1KiB"
  max_size = "3KiB"
}
