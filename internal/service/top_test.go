package service

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTopHasWhatIsExpected(t *testing.T) {
	for _, c := range []struct {
		n    int
		udp  bool
		want []uint16
	}{
		{10, tcp, []uint16{22, 80, 443, 8080, 3389}},
		{100, tcp, []uint16{
			21, 22, 23, 25, 53, 80, 88, 110, 111, 135, 139, 143, 179, 389, 443, 445, 465, 515, 554, 587, 631, 636, 873, 902,
			993, 995, 1080, 1194, 1433, 1521, 1723, 1883, 2049, 2375, 2379, 3000, 3128, 3306, 3389, 5000, 5060, 5222, 5432,
			5601, 5672, 5900, 5984, 5985, 6379, 6443, 6667, 8000, 8006, 8080, 8081, 8291, 8443, 8888, 9000, 9090, 9092, 9100,
			9200, 10000, 10050, 10250, 11211, 27017, 32400,
		}},
		{10, udp, []uint16{53, 123, 161}},
		{100, udp, []uint16{
			53, 67, 69, 88, 123, 137, 161, 389, 443, 500, 514, 520, 623, 1194, 1434, 1701, 1812, 1900, 2049, 3478, 3702, 4500,
			4789, 5060, 5353, 5355, 5683, 11211, 47808, 51820,
		}},
	} {
		top := Top(c.n, c.udp)
		for _, port := range c.want {
			if !slices.Contains(top, port) {
				t.Errorf("Top(%d, udp %v) lacks %d", c.n, c.udp, port)
			}
		}
	}
}

func TestTopOfAll(t *testing.T) {
	for _, udp := range []bool{tcp, udp} {
		all := Top(65535, udp)
		var seen [65536]bool
		for _, port := range all {
			if port == 0 || seen[port] {
				t.Fatalf("udp %v: port %d is there a second time, or 0", udp, port)
			}
			seen[port] = true
		}
		if len(all) != 65535 {
			t.Errorf("udp %v: %d ports", udp, len(all))
		}
	}
}

// The list promises its reader where the default of a scan ends.
func TestFirstHundredAreAHundred(t *testing.T) {
	first, _, found := strings.Cut(commonTCP, "# --- From here on")
	if n := len(slices.Collect(listed(first))); n != 100 || !found {
		t.Errorf("the first hundred are %d", n)
	}
}

// Every n is the beginning of the same order.
func TestTopIsOneOrder(t *testing.T) {
	all := map[bool][]uint16{tcp: Top(65535, tcp), udp: Top(65535, udp)}
	rapid.Check(t, func(t *rapid.T) {
		n, udp := rapid.IntRange(-10, 70000).Draw(t, "n"), rapid.Bool().Draw(t, "udp")
		want := all[udp][:min(max(n, 0), 65535)]
		if got := Top(n, udp); !slices.Equal(got, want) {
			t.Errorf("Top(%d, udp %v) is not the beginning of the whole order", n, udp)
		}
	})
}

// After the list made by hand come the ports with names, then those without, each ascending.
func TestTopBeyondTheCommon(t *testing.T) {
	for _, udp := range []bool{tcp, udp} {
		common := commonTCP
		if udp {
			common = commonUDP
		}
		listed := slices.Collect(listed(common))
		slices.Sort(listed)
		rest := Top(65535, udp)[len(slices.Compact(listed)):]
		named := slices.IndexFunc(rest, func(port uint16) bool { return Name(port, udp) == "" })
		if named < 1000 || !slices.IsSorted(rest[:named]) || !slices.IsSorted(rest[named:]) {
			t.Errorf("udp %v: %d named ports follow, or the order is broken", udp, named)
		}
		if i := slices.IndexFunc(rest[named:], func(port uint16) bool { return Name(port, udp) != "" }); i >= 0 {
			t.Errorf("udp %v: port %d has a name and comes among those without", udp, rest[named+i])
		}
	}
}

func TestCommonListsAreSound(t *testing.T) {
	for name, list := range map[string]string{"tcp": commonTCP, "udp": commonUDP} {
		var ports int
		for line := range strings.Lines(list) {
			text, _, _ := strings.Cut(line, "#")
			for field := range strings.FieldsSeq(text) {
				ports++
				first, last, isRange := strings.Cut(field, "-")
				low, err := strconv.ParseUint(first, 10, 16)
				if !isRange {
					last = strconv.FormatUint(low+1, 10)
				}
				high, highErr := strconv.ParseUint(last, 10, 17)
				if err != nil || highErr != nil || low == 0 || low >= high || high > 65536 {
					t.Errorf("%s: %q is no port and no range", name, field)
				}
			}
		}
		if least := map[string]int{"tcp": 1000, "udp": 300}[name]; ports < least {
			t.Errorf("%s: %d entries, want at least %d", name, ports, least)
		}
	}
}

func BenchmarkTop1000(b *testing.B) {
	for b.Loop() {
		Top(1000, tcp)
	}
}
