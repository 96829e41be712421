//go:build !linux

package sock

import "time"

// Monotonic returns 0: no other program shares a clock with this one.
func Monotonic() time.Duration { return 0 }
