package cli

type statusRequest struct{}

// statusSignal never asks: Windows has no such signal.
func statusSignal() (asked <-chan statusRequest, ignore func()) { return nil, func() {} }
