package cli

import (
	"errors"
	"fmt"
	"strings"

	"sonde/internal/report"
	"sonde/internal/target"
)

// What a scan owes those who are scanned, and whoever started it: nobody is asked whom the user did not mean, and
// what is about to happen is told.

// mostPublic is how many public addresses are scanned without a word on who is to be left alone: a /16.
const mostPublic = 1 << 16

// checkManners refuses flags about whom to leave alone, and how, that make no sense.
func (s *scanner) checkManners(given func(flag string) bool) error {
	switch {
	case s.noExclude && len(s.excludeFiles) > 0:
		return misuse(errors.New("--no-exclude and --exclude-file contradict each other"), "leave out one of them")
	case given("max-rate-per-host") && !(s.maxPerHost > 0):
		return misuse(errors.New("--max-rate-per-host must be more than 0"), "leave it out for no limit")
	case s.maxPerHost > 1e9:
		return misuse(errors.New("--max-rate-per-host must be at most 1,000,000,000"), "leave it out for no limit")
	}
	return nil
}

// checkExtent refuses a scan of half the Internet that nobody thought about.
func (s *scanner) checkExtent(f *found) error {
	n := f.public.Hosts()
	if n <= mostPublic || s.dryRun || s.noExclude || len(s.excludeFiles) > 0 {
		return nil
	}
	return misuse(fmt.Errorf("these are %s, and no file says who is to be left alone", report.Plural(n, "public host")),
		"name it: --exclude-file FILE, with addresses, prefixes, ranges or names", "or say that nobody is to be left alone: --no-exclude")
}

func nothingLeft(f *found) error {
	if len(f.left) > 0 {
		return misuse(errors.New("nothing is left to scan but special-purpose blocks in wider targets"), "name each block as a target of its own")
	}
	return misuse(errors.New("nothing is left to scan: every target is excluded"))
}

// tellLeftOut tells of the special-purpose blocks that are not scanned, those of one name together.
func (s *scanner) tellLeftOut(left []target.LeftOut) {
	if len(left) == 0 {
		return
	}
	var names []string
	blocks := map[string][]string{}
	for _, l := range left {
		if blocks[l.Name] == nil {
			names = append(names, l.Name)
		}
		blocks[l.Name] = append(blocks[l.Name], l.String())
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%s (%s)", strings.Join(blocks[name], ", "), name)
	}
	s.note("special-purpose blocks are left out of wider targets: %s; name one as a target of its own to scan it", strings.Join(names, ", "))
}

// A scan is told of in advance if it has more targets than this, or takes more seconds.
const (
	manyTargets = 10_000
	manySeconds = 10
)

// tellSize tells how much is about to be asked, how fast, and how long that takes, if it is enough to wonder.
func (s *scanner) tellSize(f *found) {
	if s.resumed != nil {
		return // part of it is done
	}
	var words []string
	wonder := false
	for _, e := range s.extents(f) {
		words = append(words, e.String())
		wonder = wonder || e.targets() > manyTargets || e.seconds() > manySeconds
	}
	text := strings.Join(words, "; then ")
	if s.alive {
		text = "of who is there at most " + text
	}
	if wonder {
		s.note("%s", text)
	}
}

// extents are those of the zones, in their order.
func (s *scanner) extents(f *found) (all []extent) {
	for i, space := range []target.Space{f.local, f.public} {
		if space.Len() > 0 {
			public := i == 1
			p, _ := s.pacing(public)
			all = append(all, extent{space, []string{"host", "public host"}[i], s.shard, p.rate, s.maxPerHost})
		}
	}
	return all
}

// An extent is how much one zone of a scan is, and how fast it is asked.
type extent struct {
	space         target.Space
	what          string // an address of it is
	shard         shard
	rate, perHost float64 // probes a second; 0: no limit
}

// String is 65,536 hosts × 32 ports = 2,097,152 targets, at 150,000 probes/s: about 14 s for each attempt.
func (e extent) String() string {
	text, sign := report.Plural(e.space.Hosts(), e.what), " with "
	if sizes := e.space.Sizes(); len(sizes) == 1 {
		text, sign = text+" × "+report.Plural(sizes[0].Ports, "port"), " = "
	}
	if e.shard.n > 0 {
		text, sign = "shard "+e.shard.String()+" of "+text, ": "
	}
	text += sign + report.Plural(e.targets(), "target")
	switch {
	case e.rate == 0 && e.perHost == 0:
		return text + ", as fast as this machine bears"
	case e.rate == 0:
		text += ", at " + perSecond(e.perHost) + " to each host"
	case e.perHost == 0:
		text += ", at " + perSecond(e.rate)
	default:
		text += ", at " + perSecond(e.rate) + ", " + perSecond(e.perHost) + " to each host"
	}
	return text + ": about " + roughly(e.seconds()) + " for each attempt"
}

// targets is how many are to be asked here.
func (e extent) targets() uint64 { return e.space.Len() / max(1, e.shard.n) }

// seconds is how long it takes to ask each target once, as far as rates say it: neither all of them nor the ports of one
// host are asked faster.
func (e extent) seconds() (t float64) {
	if e.rate > 0 {
		t = float64(e.targets()) / e.rate
	}
	if e.perHost > 0 {
		for _, size := range e.space.Sizes() {
			t = max(t, float64(size.Ports)/e.perHost)
		}
	}
	return t
}

func perSecond(rate float64) string {
	if rate < 10 && rate != 1 {
		return fmt.Sprintf("%.3g probes/s", rate)
	}
	return report.Plural(uint64(rate+0.5), "probe") + "/s"
}

// roughly is a length of time, given in seconds, that is known to two digits or so.
func roughly(seconds float64) string {
	const minute, hour, day, year = 60, 3600, 24 * 3600, 365 * 24 * 3600
	switch {
	case seconds < 2*minute:
		return fmt.Sprintf("%.0f s", max(1, seconds))
	case seconds < 2*hour:
		return fmt.Sprintf("%.0f min", seconds/minute)
	case seconds < 2*day:
		return fmt.Sprintf("%.0f h", seconds/hour)
	case seconds < 2*year:
		return fmt.Sprintf("%.0f days", seconds/day)
	case seconds < 1000*year:
		return fmt.Sprintf("%.0f years", seconds/year)
	}
	return "more than a thousand years"
}
