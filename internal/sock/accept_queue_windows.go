package sock

import (
	"errors"
	"net"
)

// A queue is not known here, where handles do not run out: there is the rest.
type queue struct{}

func queueOf(any) queue { return queue{} }

func (queue) await() (there bool, err error) { return true, nil }

func (queue) turnAway() (net.Addr, error) { return nil, errors.ErrUnsupported }
