package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// More than 65,536 public addresses need a word on whom to leave alone; what is excluded, special or only listed is not counted.
func TestManyPublicAddresses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "nobody")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args    []string
		refused bool
	}{
		{[]string{"9.0.0.0/16"}, false},
		{[]string{"9.0.0.0/16", "9.1.0.0"}, true},
		{[]string{"9.0.0.0/16", "9.1.0.0", "--exclude", "9.0.0.0"}, false},
		{[]string{"9.0.0.0/16", "9.1.0.0", "--no-exclude"}, false},
		{[]string{"9.0.0.0/16", "9.1.0.0", "--exclude-file", empty}, false},
		{[]string{"9.0.0.0/16", "9.1.0.0", "--dry-run"}, false},
		{[]string{"9.0.0.0/16", "10.0.0.0/8"}, false},
		{[]string{"0.0.0.0/0"}, true},
		{[]string{"2606::/111"}, true},
	} {
		s, found := foundBy(t, c.args...)
		err := s.checkExtent(found)
		var e *exitError
		if (err != nil) != c.refused || err != nil && (!errors.As(err, &e) || e.code != exitMisused || len(e.hints) != 2) {
			t.Errorf("%q: %v, want refused: %v", c.args, err, c.refused)
		}
	}
}

func TestExtentsInWords(t *testing.T) {
	for _, c := range []struct {
		want string
		args []string
	}{
		{"1 host × 1 port = 1 target, as fast as this machine bears", []string{"127.0.0.1", "-p", "1"}},
		{"65,536 hosts × 32 ports = 2,097,152 targets, at 150,000 probes/s: about 14 s for each attempt", []string{"10.1.0.0/16", "-p", "1-32", "--rate", "150000"}},
		{"3 hosts with 5 targets, at 0.01 probes/s: about 8 min for each attempt", []string{"10.0.0.1-2", "10.0.0.3:1-3", "-p", "9", "--rate", "0.01"}},
		{"shard 2/3 of 65,536 hosts × 1 port: 21,845 targets, at 1 probe/s: about 6 h for each attempt", []string{"10.1.0.0/16", "-p", "1", "--rate", "1", "--shard", "2/3"}},
		{"2 hosts × 65,535 ports = 131,070 targets, at 100,000 probes/s, 100 probes/s to each host: about 11 min for each attempt", []string{"10.0.0.1-2", "-p", "-", "--rate", "1e5", "--max-rate-per-host", "100"}},
		{"2 hosts × 100 ports = 200 targets, at 2.5 probes/s to each host: about 40 s for each attempt", []string{"10.0.0.1-2", "--max-rate-per-host", "2.5"}},
	} {
		s, found := foundBy(t, c.args...)
		if got := s.extents(found)[0].String(); got != c.want {
			t.Errorf("%q: %s, want %s", c.args, got, c.want)
		}
	}
	s, found := foundBy(t, "127.0.0.1", "9.0.0.0/24", "-p", "1-5")
	want := "256 public hosts × 5 ports = 1,280 targets, at 1,000 probes/s: about 1 s for each attempt"
	if e := s.extents(found); len(e) != 2 || e[1].String() != want {
		t.Errorf("%v, want %s", e, want)
	}
}

func TestRoughly(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "1 s", 0.4: "1 s", 1.6: "2 s", 119: "119 s", 120: "2 min", 7199: "120 min", 7200: "2 h",
		2 * 24 * 3600: "2 days", 9e7: "3 years", 1e30: "more than a thousand years",
	} {
		if got := roughly(seconds); got != want {
			t.Errorf("%v seconds are %q, want %q", seconds, got, want)
		}
	}
}
