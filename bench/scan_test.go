package bench

import (
	"strings"
	"testing"

	"sonde/internal/lab"
)

// BenchmarkAnsweringPorts scans the 65,535 ports of a host on a veth pair that answers on every
// one: six accept, all others reset.
func BenchmarkAnsweringPorts(b *testing.B) {
	net := lab.Enter(b)
	if net == nil {
		return
	}
	nmap, sonde := find(b, "nmap"), build(b)
	host := net.Host(b, lab.Config{Listen: []lab.Listener{{Ports: lab.Port(22)}, {Ports: lab.Port(80)}, {Ports: lab.Range(40000, 40003)}}})
	addr := host.IPv4.String()
	var times pair
	for b.Loop() {
		out, ours := run(b, sonde, "scan", addr, "-p", "-")
		if !strings.Contains(out, "6 open, 65,529 closed, 0 filtered") {
			b.Fatalf("sonde found something else: %s", out)
		}
		out, theirs := run(b, nmap, "-sT", "-T5", "-n", "-Pn", "-p", "-", addr)
		if strings.Count(out, " open ") != 6 {
			b.Logf("nmap found something else: %s", out)
		}
		times.add(ours, theirs)
	}
	times.report(b, "nmap")
}

// BenchmarkSilentPorts scans 10,000 ports that are dropped, but for six.
func BenchmarkSilentPorts(b *testing.B) {
	net := lab.Enter(b)
	if net == nil {
		return
	}
	nmap, sonde := find(b, "nmap"), build(b)
	host := net.Host(b, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Range(22, 27)}},
		Rules:  []lab.Rule{{Ports: lab.Range(22, 27), Do: lab.Accept}, {Do: lab.Drop}},
	})
	addr := host.IPv4.String()
	var times pair
	for b.Loop() {
		out, ours := run(b, sonde, "scan", addr, "-p", "1-10000")
		if !strings.Contains(out, "6 open, 0 closed, 9,994 filtered") {
			b.Fatalf("sonde found something else: %s", out)
		}
		_, theirs := run(b, nmap, "-sT", "-T4", "-n", "-Pn", "-p", "1-10000", addr)
		times.add(ours, theirs)
	}
	times.report(b, "nmap")
}
