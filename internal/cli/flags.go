package cli

import (
	"errors"
	"fmt"
	"math"
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

// A method is --method: how TCP ports are asked, and the protocol of ports that are named without one.
type method struct {
	proto *probe.Proto
	syn   *bool
}

func (m method) String() string {
	switch {
	case m.syn != nil && *m.syn:
		return probe.SYN.String()
	case m.proto != nil && *m.proto == probe.UDP:
		return probe.Datagram.String()
	}
	return probe.Connect.String()
}

func (m method) Type() string { return "METHOD" }

func (m method) Set(text string) error {
	*m.proto, *m.syn = probe.TCP, false
	switch text {
	case probe.Connect.String():
	case probe.SYN.String():
		*m.syn = true
	case probe.Datagram.String():
		*m.proto = probe.UDP
	default:
		return fmt.Errorf("%q is no method; there are %v, %v and %v", text, probe.Connect, probe.SYN, probe.Datagram)
	}
	return nil
}

// A rate is --rate: probes a second. Zero: the default; mostRate: as fast as it goes.
type rate float64

const mostRate = 1e9

func (r *rate) String() string {
	switch *r {
	case 0:
		return ""
	case mostRate:
		return "max"
	}
	return strconv.FormatFloat(float64(*r), 'f', -1, 64)
}

func (r *rate) Type() string { return "N" }

// Set implements pflag.Value.
func (r *rate) Set(text string) error {
	if text == "max" {
		*r = mostRate
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || math.IsNaN(f):
		return fmt.Errorf("%q is no rate; write a number of probes a second, or max", text)
	case f <= 0:
		return errors.New("it must be more than 0; leave it out for the default")
	case f > mostRate:
		return errors.New("it must be at most 1,000,000,000; write max for no limit")
	}
	*r = rate(f)
	return nil
}
