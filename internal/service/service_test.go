package service

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	tcp = false
	udp = true
)

func TestName(t *testing.T) {
	for _, c := range []struct {
		port uint16
		udp  bool
		want string
	}{
		{21, tcp, "ftp"}, {22, tcp, "ssh"}, {23, tcp, "telnet"}, {25, tcp, "smtp"}, {53, tcp, "domain"}, {53, udp, "domain"},
		{80, tcp, "http"}, {110, tcp, "pop3"}, {143, tcp, "imap"}, {443, tcp, "https"}, {445, tcp, "microsoft-ds"},
		{3306, tcp, "mysql"}, {3389, tcp, "ms-wbt-server"}, {5432, tcp, "postgresql"}, {6379, tcp, "redis"},
		{8080, tcp, "http-alt"}, {8443, tcp, "https-alt"}, {27017, tcp, "mongodb"}, {123, udp, "ntp"}, {161, udp, "snmp"},
		// One number, two services.
		{514, tcp, "shell"}, {514, udp, "syslog"}, {631, tcp, "ipp"}, {631, udp, "ipp"},
		// Named in one registry only.
		{993, tcp, "imaps"}, {993, udp, ""}, {51820, udp, "wireguard"}, {51820, tcp, ""},
		// The ends of the table and of a range, and what lies beyond them.
		{0, tcp, ""}, {1, tcp, "tcpmux"}, {2, tcp, ""}, {6000, tcp, "x11"}, {6063, tcp, "x11"}, {65535, tcp, ""}, {65535, udp, ""},
	} {
		if got := Name(c.port, c.udp); got != c.want {
			t.Errorf("Name(%d, udp %v) = %q, want %q", c.port, c.udp, got, c.want)
		}
	}
}

func TestPorts(t *testing.T) {
	for _, c := range []struct {
		name string
		udp  bool
		want []uint16
	}{
		{"http", tcp, []uint16{80}}, {"HTTP", tcp, []uint16{80}}, {"www-http", tcp, []uint16{80}}, {"www", tcp, []uint16{80}},
		{"https", tcp, []uint16{443}}, {"ssh", tcp, []uint16{22}}, {"dns", tcp, []uint16{53}}, {"dns", udp, []uint16{53}},
		{"domain", udp, []uint16{53}}, {"mysql", tcp, []uint16{3306}}, {"postgres", tcp, []uint16{5432}},
		{"postgresql", tcp, []uint16{5432}}, {"rdp", tcp, []uint16{3389}}, {"smb", tcp, []uint16{445}},
		{"mongodb", tcp, []uint16{27017}}, {"redis", tcp, []uint16{6379}}, {"syslog", udp, []uint16{514}},
		{"radius", udp, []uint16{1645, 1812}}, {"ircu", tcp, []uint16{6665, 6666, 6667, 6668, 6669}},
		{"htp", tcp, nil}, {"", tcp, nil}, {"-", tcp, nil}, {"-", udp, nil}, {"http,www", tcp, nil}, {"80", tcp, nil},
	} {
		if diff := cmp.Diff(c.want, Ports(c.name, c.udp)); diff != "" {
			t.Errorf("Ports(%q, udp %v) (-want +got):\n%s", c.name, c.udp, diff)
		}
	}
	for _, c := range []struct {
		name string
		port uint16
	}{{"http-alt", 8080}, {"https-alt", 8443}, {"irc", 6667}, {"winrm", 5985}} {
		if got := Ports(c.name, tcp); !slices.Contains(got, c.port) || !slices.IsSorted(got) {
			t.Errorf("Ports(%q) = %d, want %d among them, ascending", c.name, got, c.port)
		}
	}
}

func TestTableIsSound(t *testing.T) {
	last := uint16(0)
	for line := range strings.Lines(table) {
		if port := portOf(line); port <= last {
			t.Fatalf("line %q follows port %d", line, last)
		} else {
			last = port
		}
		if names(line, tcp) == "" && names(line, udp) == "" {
			t.Errorf("line %q names nothing", line)
		}
		for _, udp := range []bool{tcp, udp} {
			checkNames(t, line, udp)
		}
	}
	if !strings.HasSuffix(table, "\n") {
		t.Error("the last line has no end")
	}
	if len(table) > 400<<10 {
		t.Errorf("the table adds %d bytes to the program", len(table))
	}
}

// checkNames holds what a line says against what Name and Ports make of it.
func checkNames(t *testing.T, line string, udp bool) {
	t.Helper()
	list := names(line, udp)
	if list == "" {
		return
	}
	port, all := portOf(line), strings.Split(list, ",")
	if got := Name(port, udp); got != all[0] {
		t.Errorf("Name(%d, udp %v) = %q, want %q", port, udp, got, all[0])
	}
	for _, name := range all {
		if name == "" || name != strings.ToLower(name) || strings.ContainsFunc(name, notInName) {
			t.Errorf("line %q has the name %q", line, name)
		}
	}
}

func notInName(r rune) bool {
	return r > unicode.MaxASCII || !unicode.IsGraphic(r) || r == ' ' || r == '`'
}

func TestNames(t *testing.T) {
	for _, udp := range []bool{tcp, udp} {
		all := Names(udp)
		if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) || len(all) < 5000 {
			t.Errorf("Names(udp %v): %d names, sorted %v", udp, len(all), slices.IsSorted(all))
		}
		rapid.Check(t, func(t *rapid.T) {
			name := rapid.SampledFrom(all).Draw(t, "name")
			if len(Ports(strings.ToUpper(name), udp)) == 0 {
				t.Errorf("Names has %q, Ports does not", name)
			}
		})
	}
}

func TestNamesAndPortsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		port, udp := rapid.Uint16().Draw(t, "port"), rapid.Bool().Draw(t, "udp")
		if name := Name(port, udp); name != "" && !slices.Contains(Ports(name, udp), port) {
			t.Errorf("port %d is %q, whose ports are %d", port, name, Ports(name, udp))
		}
	})
}

func TestNameAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Name(8080, tcp) }); n != 0 {
		t.Errorf("Name allocates %v times", n)
	}
}

func BenchmarkName(b *testing.B) {
	port := uint16(0)
	for b.Loop() {
		port += 7919
		Name(port, tcp)
	}
}

func BenchmarkPorts(b *testing.B) {
	for b.Loop() {
		Ports("postgres", tcp)
	}
}
