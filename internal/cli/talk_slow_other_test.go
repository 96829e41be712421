//go:build !linux

package cli

import "errors"

func peerSlow() error { return errors.New("the queue of a listener is Linux's") }
