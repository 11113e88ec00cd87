package limits

import "time"

// budgetWindow is the time over which a server averages what it takes in: as much as it may
// take in that time can come at once.
const budgetWindow = 24 * time.Hour

const (
	leastPosts = 60      // an hour
	leastBytes = 4 << 20 // a day
)

// budgetHours returns in how many hours a server may take in no more than it holds.
func (r Retention) budgetHours() uint64 {
	return uint64((r.MinAge + budgetWindow + time.Hour - 1) / time.Hour)
}

// MostPosts returns how many posts an hour fit into MaxCount within MinAge, whenever they
// come; 0 if there is no MaxCount.
func (r Retention) MostPosts() int64 {
	return int64(r.MaxCount / r.budgetHours())
}

// MostBytes returns how many bytes a day fit into MaxBytes within MinAge, whenever they
// come; 0 if there is no MaxBytes.
func (r Retention) MostBytes() int64 {
	return int64(r.MaxBytes / r.budgetHours() * 24)
}

// Budget returns how many posts an hour and bytes a day a server takes if its operator says
// nothing else: nine tenths of what fits, so that an attacker cannot fill it with messages
// that are younger than MinAge. 0 is no bound. A server that is too small for a
// conversation gets as much as one takes.
func (r Retention) Budget() (postsPerHour int, bytesPerDay int64) {
	if r.MaxCount > 0 {
		postsPerHour = int(max(r.MostPosts()*9/10, leastPosts))
	}
	if r.MaxBytes > 0 {
		bytesPerDay = max(r.MostBytes()/10*9, leastBytes)
	}
	return postsPerHour, bytesPerDay
}
