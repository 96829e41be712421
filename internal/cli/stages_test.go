package cli

import (
	"net/netip"
	"testing"
	"time"

	"sonde/internal/probe"
	"sonde/internal/probe/connect"
	"sonde/internal/scan"
)

// A planned is a zone with the plan that it is scanned by.
type planned struct {
	*zone
	plan scan.Plan
}

// stagesOf returns what a command line comes to, up to the first packet.
func stagesOf(t *testing.T, args ...string) (all []planned) {
	t.Helper()
	s, found := foundBy(t, args...)
	for _, z := range s.zones(found, s.newProgress()) {
		all = append(all, planned{z, s.plan(z, z.space)})
	}
	return all
}

// foundBy returns what a command line names.
func foundBy(t *testing.T, args ...string) (*scanner, *found) {
	t.Helper()
	s := &scanner{app: &app{quiet: true}, timeout: time.Second}
	cmd := s.command()
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	s.hosts = append(s.hosts, cmd.Flags().Args()...)
	if err := s.check(cmd.Flags().Changed); err != nil {
		t.Fatal(err)
	}
	request, err := s.read(nil)
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.find(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return s, found
}

// Each flag gets to where it has its effect.
func TestFlagsBecomeStages(t *testing.T) {
	prober := func(st planned) *connect.Prober { return st.probers[probe.TCP].(*connect.Prober) }
	near := stagesOf(t, "127.0.0.1")
	if len(near) != 1 || near[0].plan.Rate != nil || prober(near[0]).PerHost != 0 || prober(near[0]).Concurrency != 0 {
		t.Errorf("an address nearby has limits: %+v", near)
	}
	both := stagesOf(t, "127.0.0.1", "8.8.8.8-9", "-p", "1-10", "--attempts", "3")
	if len(both) != 2 || both[0].plan.Space.Len() != 10 || both[1].plan.Space.Len() != 20 {
		t.Fatalf("two networks make the stages %+v", both)
	}
	if both[0].plan.Rate != nil || both[1].plan.Rate == nil || prober(both[1]).PerHost != publicPerHost {
		t.Errorf("the limits of public addresses: rate %v, %d a host", both[1].plan.Rate, prober(both[1]).PerHost)
	}
	if both[0].plan.Attempts != 3 || both[0].plan.Timeout != time.Second {
		t.Errorf("plan %+v", both[0].plan)
	}
	all := stagesOf(t, "127.0.0.1", "8.8.8.8", "--rate", "50", "--concurrency", "7", "--timeout", "0.25", "--source", "127.0.0.1", "--interface", "lo")
	for i, st := range all {
		want := &connect.Prober{Timeout: 250 * time.Millisecond, Concurrency: 7, Source4: netip.MustParseAddr("127.0.0.1"), Interface: "lo"}
		got := prober(st)
		if got.Timeout != want.Timeout || got.Concurrency != want.Concurrency || got.Source4 != want.Source4 || got.Interface != want.Interface {
			t.Errorf("zone %d has the prober %+v, want %+v", i, got, want)
		}
		if st.plan.Rate == nil || st.spans != smallestSpan {
			t.Errorf("stage %d: rate %v, spans of %d", i, st.plan.Rate, st.spans)
		}
	}
	// A socket that lives three seconds sends three SYNs: each is an attempt.
	if long := stagesOf(t, "127.0.0.1", "--timeout", "3", "--attempts", "6"); long[0].plan.Attempts != 2 {
		t.Errorf("%d passes of three SYNs each, want 2", long[0].plan.Attempts)
	}
}

func TestSeedFixesTheOrder(t *testing.T) {
	order := func(seed string) (list []uint16) {
		st := stagesOf(t, "127.0.0.1", "-p", "1-50", "--seed", seed)[0]
		for place := range uint64(50) {
			list = append(list, st.plan.At(place).Port())
		}
		return list
	}
	same := 0
	one, two, other := order("1"), order("1"), order("2")
	for i := range one {
		if one[i] != two[i] {
			t.Fatalf("seed 1 gives %v and %v", one, two)
		}
		if one[i] == other[i] {
			same++
		}
	}
	if same > 15 {
		t.Errorf("another seed leaves %d of 50 places as they were", same)
	}
}
