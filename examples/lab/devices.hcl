about      = "Where does server-less stop making sense? Each member's own device is the only core peer it has, and devices meet only while both are online."
duration   = "96h"
settle     = "24h"
algorithms = ["mesh"]
seeds      = 5
heal       = false

peers "device" {
  trace   = "churn"
  session = "30m"
}

members "people" {
  own   = "device"
  reads = 2
}

posts { per_hour = 6 }

sweep {
  group  = "device"
  counts = ["3", "5", "10", "20"]
  online = ["2%", "5%", "10%", "20%", "35%", "50%"]
}
