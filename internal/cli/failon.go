package cli

import (
	"fmt"

	"sonde/internal/probe"
	"sonde/internal/scan"
)

// exitFound says that --fail-on found what it was to look for.
const exitFound = 6

// A failOn is --fail-on: the state of which no port may be. The zero value allows all.
type failOn struct{ state probe.State }

func (f *failOn) String() string {
	if f.state == probe.Unsent {
		return ""
	}
	return f.state.String()
}

func (f *failOn) Type() string { return "STATE" }

// Set implements pflag.Value.
func (f *failOn) Set(text string) error {
	for _, s := range []probe.State{probe.Open, probe.Closed} {
		if text == s.String() {
			f.state = s
			return nil
		}
	}
	return fmt.Errorf("%q is no state to fail on; there are open and closed", text)
}

// check returns the error that ends the program with exitFound if any port is in the state.
func (f *failOn) check(total scan.Summary) error {
	n := map[probe.State]uint64{probe.Open: total.Open, probe.Closed: total.Closed}[f.state]
	if n == 0 {
		return nil
	}
	verb := "are"
	if n == 1 {
		verb = "is"
	}
	return &exitError{code: exitFound, err: fmt.Errorf("%s %s %s (--fail-on)", quantity(n, "port"), verb, f.state)}
}
