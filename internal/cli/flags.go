package cli

import (
	"fmt"
	"strconv"
	"time"

	"sonde/internal/probe"
)

// seconds is a duration flag whose bare numbers are seconds: 2, 0.5, 500ms, 1m30s.
type seconds struct {
	value *time.Duration
	min   time.Duration // the least that makes sense
}

const longestTime = 365 * 24 * time.Hour

func (s seconds) String() string {
	if s.value == nil || *s.value == 0 {
		return ""
	}
	return s.value.String()
}

func (s seconds) Type() string { return "seconds" }

func (s seconds) Set(text string) error {
	d, err := time.ParseDuration(text)
	if f, ferr := strconv.ParseFloat(text, 64); ferr == nil && f < 1e9 && f > -1e9 {
		d, err = time.Duration(f*float64(time.Second)), nil
	}
	if err != nil {
		return fmt.Errorf("%q is no length of time; write 2 (seconds), 0.5 or 500ms", text)
	}
	switch {
	case d < 0 && s.min == 0:
		return fmt.Errorf("%s is less than 0", text)
	case d > longestTime:
		return fmt.Errorf("%s is too long; it may be a year at most", text)
	case d < s.min:
		return fmt.Errorf("%s is too short; it must be more than 0", text)
	}
	*s.value = d
	return nil
}

// A method is --method: the protocol of ports that are named without one.
type method struct{ proto *probe.Proto }

func (m method) String() string {
	if m.proto != nil && *m.proto == probe.UDP {
		return probe.Datagram.String()
	}
	return probe.Connect.String()
}

func (m method) Type() string { return "METHOD" }

func (m method) Set(text string) error {
	switch text {
	case probe.Connect.String():
		*m.proto = probe.TCP
	case probe.Datagram.String():
		*m.proto = probe.UDP
	default:
		return fmt.Errorf("%q is no method; there are %v and %v", text, probe.Connect, probe.Datagram)
	}
	return nil
}
