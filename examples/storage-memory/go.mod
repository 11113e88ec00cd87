module example.com/storage-memory

go 1.26.0

require github.com/cwtch-relay/cwtch-relay v0.0.0

// For work inside the repository; outside of it this line is not there.
replace github.com/cwtch-relay/cwtch-relay => ../..
