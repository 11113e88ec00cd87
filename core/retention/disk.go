package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/limits"
)

// Disk is the state of a file system.
type Disk struct {
	Size  uint64 // bytes
	Free  uint64 // bytes that this user may still write
	Used  uint64
	Store uint64 // bytes of the store, of those used
	At    time.Time
}

// ReadDisk returns the state of the file system of a directory, without Store.
func ReadDisk(dir string) (d Disk, err error) {
	var st unix.Statfs_t
	for {
		if err = unix.Statfs(dir, &st); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return d, fmt.Errorf("ask how much room %s has: %w", dir, err)
	}
	unit := uint64(st.Frsize)
	return Disk{Size: st.Blocks * unit, Free: st.Bavail * unit, Used: (st.Blocks - st.Bfree) * unit, At: time.Now()}, nil
}

// reserve returns how much room posts leave free on a disk.
func reserve(r limits.Retention, d Disk) uint64 {
	if r.KeepFree > 0 {
		return r.KeepFree
	}
	return min(1<<30, d.Size/10)
}

// checkDisk notes whether posts are refused because of the disk. Posts are taken again
// when there is a tenth more room than the reserve.
func (k *Keeper) checkDisk(ctx context.Context, r limits.Retention) {
	d, err := k.cfg.Disk()
	if err != nil {
		k.logError("cannot see how much room the disk has, will keep trying", err)
		return
	}
	need := reserve(r, d)
	if k.short != nil {
		need += need / 10
	}
	if d.Free >= need {
		if k.short = nil; len(k.samples) == 0 || d.At.Sub(k.samples[len(k.samples)-1].At) >= time.Hour {
			d.Store = k.storeBytes(ctx)
			k.noteTight(r, d)
			k.samples = append(k.samples, d)
			k.samples = k.samples[max(0, len(k.samples)-24):]
		}
	} else if k.short == nil {
		d.Store = k.storeBytes(ctx)
		k.short = explainShort(r, d, k.samples)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status.Free = d.Free
}

// noteTight notes whether the disk has room for what the retention allows.
func (k *Keeper) noteTight(r limits.Retention, d Disk) {
	tight := ""
	if room := d.Free - min(d.Free, reserve(r, d)) + d.Store; k.pruner != nil && r.MaxBytes > room {
		tight = fmt.Sprintf("the disk has room for %d MiB of max_bytes, %d MiB: when it is used up, posts are refused instead of old envelopes removed; lower max_bytes", room>>20, r.MaxBytes>>20)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if tight != "" && k.status.Tight == "" {
		k.cfg.Logger.Warn(tight)
	}
	k.status.Tight = tight
}

// storeBytes returns what the store takes, 0 if it does not answer.
func (k *Keeper) storeBytes(ctx context.Context) uint64 {
	ctx, cancel := context.WithTimeout(ctx, every)
	defer cancel()
	info, err := k.cfg.Store.Info(ctx)
	if err != nil {
		return 0
	}
	return info.Bytes
}

// explainShort says that the disk lacks room, and who has filled it since the oldest
// sample.
func explainShort(r limits.Retention, now Disk, samples []Disk) error {
	what := fmt.Sprintf("the disk has less room than keep_free, %d MiB", reserve(r, now)>>20)
	if keep := reserve(r, now); now.Size > 0 && keep+keep/10 >= now.Size {
		return fmt.Errorf("%s, and will never have more, since it has %d MiB: lower keep_free", what, now.Size>>20)
	}
	if len(samples) == 0 || now.Used <= samples[0].Used {
		return fmt.Errorf("%s: the store takes %d MiB of the %d MiB in use", what, now.Store>>20, now.Used>>20)
	}
	was := samples[0]
	all, own := now.Used-was.Used, min(now.Used-was.Used, now.Store-min(now.Store, was.Store))
	within := "within an hour"
	if hours := int(now.At.Sub(was.At).Hours() + 0.5); hours > 1 {
		within = fmt.Sprintf("in %d hours", hours)
	}
	what = fmt.Sprintf("%s: %d MiB were used up %s, %d MiB of that by this store", what, all>>20, within, own>>20)
	if own < all/2 {
		return fmt.Errorf("%s; something else fills the disk, look for it", what)
	}
	return fmt.Errorf("%s; lower max_bytes, or give the server a larger disk", what)
}
