package echo

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Faults are what a Server does wrong on purpose, so that its clients can be tested. What happens to a connection, or to the datagrams of a
// peer, follows from Seed, from how many came before it, and from its bytes: the same again is treated the same. The zero value
// does nothing wrong.
type Faults struct {
	Delay      time.Duration // every echo is so much later, in order
	Loss       float64       // UDP: how probably a datagram is not echoed
	Dup        float64       // UDP: how probably it is echoed twice
	Reorder    float64       // UDP: how probably it is echoed behind the next one of its peer
	ResetAfter uint64        // TCP: a connection is reset when so many bytes are echoed; 0: never
	Slice      int           // TCP: bytes a write; 0: as they come
	Corrupt    float64       // how probably a byte has one bit flipped
	Seed       uint64

	Done FaultCounts // what was done so far

	streams, peers atomic.Uint64 // TCP connections, and peers over UDP, so far
	delayed        atomic.Int64  // what all TCP connections hold back now
}

// FaultCounts add up what was done wrong. They may be read at any time.
type FaultCounts struct {
	Lost, Doubled, Reordered, Corrupted, Resets atomic.Uint64 // Corrupted counts bytes
	Overflowed                                  atomic.Uint64 // datagrams lost because too many were being delayed
}

// MaxDelay is the longest delay.
const MaxDelay = time.Minute

// faultKeys are the words of ParseFaults, in the order in which String has them.
var faultKeys = [...]struct {
	name string
	only string // the protocol that can have it; both if there is none
	set  func(*Faults, string) error
	get  func(*Faults) string // nothing if the fault is not wanted
}{
	{"delay", "", func(f *Faults, s string) (err error) { f.Delay, err = parseDelay(s); return }, func(f *Faults) string {
		if f.Delay == 0 {
			return ""
		}
		return f.Delay.String()
	}},
	{"loss", "udp", func(f *Faults, s string) (err error) { f.Loss, err = parseShare(s); return }, func(f *Faults) string { return share(f.Loss) }},
	{"dup", "udp", func(f *Faults, s string) (err error) { f.Dup, err = parseShare(s); return }, func(f *Faults) string { return share(f.Dup) }},
	{"reorder", "udp", func(f *Faults, s string) (err error) { f.Reorder, err = parseShare(s); return }, func(f *Faults) string { return share(f.Reorder) }},
	{"reset-after", "tcp", func(f *Faults, s string) (err error) { f.ResetAfter, err = parseSize(s); return }, func(f *Faults) string { return positive(f.ResetAfter) }},
	{"slice", "tcp", func(f *Faults, s string) error {
		n, err := parseSize(s)
		if n > math.MaxInt32 {
			return errors.New("it may be 2,147,483,647 bytes at most")
		}
		f.Slice = int(n)
		return err
	}, func(f *Faults) string { return positive(uint64(f.Slice)) }},
	{"corrupt", "", func(f *Faults, s string) (err error) { f.Corrupt, err = parseShare(s); return }, func(f *Faults) string { return share(f.Corrupt) }},
}

// FaultNames returns the words that ParseFaults knows.
func FaultNames() []string {
	names := make([]string, len(faultKeys))
	for i, k := range faultKeys {
		names[i] = k.name
	}
	return names
}

// An UnknownFaultError names a word that is no fault.
type UnknownFaultError struct{ Name string }

// Error says that the word is unknown.
func (e *UnknownFaultError) Error() string {
	return fmt.Sprintf("%q is no fault; there are %s", e.Name, strings.Join(FaultNames(), ", "))
}

// ParseFaults reads a list as delay=50ms,loss=1%,dup=1%,reorder=1%,reset-after=1MB,slice=7,corrupt=1e-6. The Seed is left at 0.
func ParseFaults(list string) (*Faults, error) {
	f, seen := new(Faults), map[string]bool{}
	for word := range strings.SplitSeq(list, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(word), "=")
		switch {
		case name == "":
			return nil, errors.New("the list of faults has an empty item: write delay=50ms,loss=1%")
		case seen[name]:
			return nil, fmt.Errorf("%s is there twice", name)
		}
		seen[name] = true
		if err := f.set(name, value); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *Faults) set(name, value string) error {
	for _, k := range faultKeys {
		if k.name != name {
			continue
		}
		if value == "" {
			return fmt.Errorf("%s has no value: write %s=…", name, name)
		}
		if err := k.set(f, value); err != nil {
			return fmt.Errorf("%s=%s: %w", name, value, err)
		}
		return nil
	}
	return &UnknownFaultError{name}
}

// String writes the faults as ParseFaults reads them.
func (f *Faults) String() string {
	var words []string
	for _, k := range faultKeys {
		if value := k.get(f); value != "" {
			words = append(words, k.name+"="+value)
		}
	}
	return strings.Join(words, ",")
}

// Only returns those of the wanted faults that one protocol alone can have, "tcp" or "udp".
func (f *Faults) Only(proto string) (names []string) {
	for _, k := range faultKeys {
		if k.only == proto && k.get(f) != "" {
			names = append(names, k.name)
		}
	}
	return names
}

// touchesTCP reports whether TCP connections are treated other than plainly.
func (f *Faults) touchesTCP() bool {
	return f != nil && (f.Delay > 0 || f.ResetAfter > 0 || f.Slice > 0 || f.Corrupt > 0)
}

// touchesUDP reports whether datagrams are treated other than plainly.
func (f *Faults) touchesUDP() bool {
	return f != nil && (f.Delay > 0 || f.Loss > 0 || f.Dup > 0 || f.Reorder > 0 || f.Corrupt > 0)
}

// parseDelay reads a length of time; a bare number is seconds.
func parseDelay(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if f, ferr := strconv.ParseFloat(s, 64); ferr == nil && f >= 0 && f <= MaxDelay.Seconds() {
		d, err = time.Duration(f*float64(time.Second)), nil
	} else if ferr == nil {
		d, err = MaxDelay+1, nil
	}
	switch {
	case err != nil:
		return 0, errors.New("this is no length of time; write 50ms or 0.05 (seconds)")
	case d < 0 || d > MaxDelay:
		return 0, fmt.Errorf("a delay is from 0 to %v", MaxDelay)
	}
	return d, nil
}

// parseShare reads a probability: 1%, 0.01 or 1e-6. A bare number of 1 and more is refused: it may be meant as percent.
func parseShare(s string) (float64, error) {
	digits, percent := strings.CutSuffix(s, "%")
	p, err := strconv.ParseFloat(digits, 64)
	if percent {
		p /= 100
	}
	switch {
	case err != nil || math.IsNaN(p):
		return 0, errors.New("this is no share; write 1%, 0.01 or 1e-6")
	case p < 0 || p > 1:
		return 0, errors.New("a share is from 0 to 100%")
	case p == 1 && !percent:
		return 0, errors.New("write 1% or 100%")
	}
	return p, nil
}

// units are those of a size, the longest first.
var units = [...]struct {
	name  string
	bytes uint64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"B", 1}}

// parseSize reads a number of bytes, at least one: 1500, 64KiB, 1MB.
func parseSize(s string) (uint64, error) {
	digits, unit := s, uint64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			digits, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && n > math.MaxInt64/unit:
		return 0, errors.New("it is too much")
	case err != nil:
		return 0, errors.New("this is no size; write bytes or 1500B, 64KiB, 1MB")
	case n == 0:
		return 0, errors.New("it must be more than 0")
	}
	return n * unit, nil
}

// share writes a probability as parseShare reads it, and none as nothing.
func share(p float64) string {
	switch p {
	case 0:
		return ""
	case 1:
		return "100%"
	}
	return strconv.FormatFloat(p, 'g', -1, 64)
}

func positive(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}
