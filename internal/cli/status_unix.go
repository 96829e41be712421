//go:build unix

package cli

import (
	"os"
	"os/signal"
	"syscall"
)

type statusRequest = os.Signal

// statusSignal returns where SIGUSR1 arrives, and what ends that: it is ignored then.
func statusSignal() (asked <-chan statusRequest, ignore func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c, func() { signal.Ignore(syscall.SIGUSR1) }
}
