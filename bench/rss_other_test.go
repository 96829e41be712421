//go:build !linux

package bench

import "os"

// resident is not known here; nothing of this package runs on other systems, which have no lab.
func resident(*os.ProcessState) int64 { return 0 }
