package bench

import (
	"fmt"
	"net/netip"
	"testing"

	"sonde/internal/lab"
)

// Six ports are open wherever nothing else is said.
const firstOpen, lastOpen = 22, 27

func six(addr string) map[string]bool {
	open := map[string]bool{}
	for port := firstOpen; port <= lastOpen; port++ {
		open[fmt.Sprint(addr, " ", port)] = true
	}
	return open
}

// dropping is a host that drops all but six ports.
func dropping() lab.Config {
	return lab.Config{
		Listen: []lab.Listener{{Ports: lab.Range(firstOpen, lastOpen)}},
		Rules:  []lab.Rule{{Ports: lab.Range(firstOpen, lastOpen), Do: lab.Accept}, {Do: lab.Drop}},
	}
}

// BenchmarkDropped scans 10,000 ports that are dropped, but for six.
func BenchmarkDropped(b *testing.B) {
	row{host: dropping(), ports: "1-10000", nmap: []string{"-sT", "-T4"}}.measure(b, silent)
}

// BenchmarkDroppedAll scans 65,535 ports that are dropped, but for six, with 20,000 descriptors.
func BenchmarkDroppedAll(b *testing.B) {
	row{host: dropping(), ports: "1-65535", nmap: []string{"-sT", "-T4"}, limit: 20000}.measure(b, silent)
}

// silent tells how many ports have the verdict that silence deserves.
func silent(b *testing.B, _ string, f found) {
	b.ReportMetric(float64(f.reasons["no-response"]), "silent")
}

// BenchmarkLossy scans 65,535 ports of which six are open and the others closed, where 5 % of the packets are lost each way:
// twenty scans a round.
func BenchmarkLossy(b *testing.B) {
	row{
		host: lab.Config{
			Listen: []lab.Listener{{Ports: lab.Range(firstOpen, lastOpen)}},
			Rules:  []lab.Rule{{Way: lab.Both, Do: lab.Lose, Percent: 5}},
		},
		ports: "1-65535", nmap: []string{"-sT", "-T4"}, rounds: 20,
	}.measure(b, nil)
}

// BenchmarkRejected scans 2,000 ports that a host rejects as prohibited, as often as Linux lets it: 6 times and once a second.
// A verdict is proved by the host's own word (host-unreach is what connect(2) makes of it, and all that nmap can say), or
// said to be unproved for the host's limit; else it is mislabelled.
func BenchmarkRejected(b *testing.B) {
	const all = 2000
	row{
		host:  lab.Config{Rules: []lab.Rule{{Do: lab.AdminProhibited}}},
		ports: fmt.Sprintf("1-%d", all), nmap: []string{"-sT", "-T4"}, open: map[string]bool{},
	}.measure(b, func(b *testing.B, _ string, f found) {
		proved, unproved := f.reasons["admin-prohibited"]+f.reasons["host-unreach"], f.reasons["rate-limited"]
		b.ReportMetric(float64(proved), "proved")
		b.ReportMetric(float64(unproved), "unproved")
		b.ReportMetric(float64(all)-float64(proved)-float64(unproved), "mislabelled")
	})
}

// BenchmarkListeners looks for 1,000 listeners among 65,535 ports: twenty scans a round.
func BenchmarkListeners(b *testing.B) {
	net := lab.Config{}
	var ports []uint16
	for i := range 1000 {
		port := uint16(11 + 65*i)
		ports = append(ports, port)
		net.Listen = append(net.Listen, lab.Listener{Ports: lab.Port(port)})
	}
	const addr = "10.1.0.1"
	net.Local = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}
	open := map[string]bool{}
	for _, port := range ports {
		open[fmt.Sprint(addr, " ", port)] = true
	}
	row{host: net, target: addr, open: open, ports: "1-65535", nmap: []string{"-sT", "-T4"}, rounds: 20}.measure(b, nil)
}

// BenchmarkHosts scans 1,000 ports of 256 hosts, 85 of which drop everything. The others have three ports open.
func BenchmarkHosts(b *testing.B) {
	hosts := netip.MustParsePrefix("10.1.0.0/24")
	host := lab.Config{
		Local:  []netip.Prefix{hosts},
		Listen: []lab.Listener{{Ports: lab.Port(22)}, {Ports: lab.Port(80)}, {Ports: lab.Port(443)}},
	}
	var quiet []netip.Prefix // 64 + 16 + 4 + 1 of them
	for _, p := range []string{"10.1.0.0/26", "10.1.0.64/28", "10.1.0.80/30", "10.1.0.84/32"} {
		quiet = append(quiet, netip.MustParsePrefix(p))
		host.Rules = append(host.Rules, lab.Rule{Addrs: quiet[len(quiet)-1], Do: lab.Drop})
	}
	open := map[string]bool{}
	for addr := hosts.Addr(); hosts.Contains(addr); addr = addr.Next() {
		if addr.As4()[3] <= 84 {
			continue
		}
		for _, port := range []int{22, 80, 443} {
			open[fmt.Sprint(addr, " ", port)] = true
		}
	}
	row{host: host, target: hosts.String(), open: open, ports: "1-1000", nmap: []string{"-sT", "-T4"}}.measure(b, nil)
}

// BenchmarkMemory tells how much memory is resident, at the most, in a scan of 100 ports of 65,536 hosts that
// are silent on 10 ports, and of the same where they are silent on 20. Silence is waited for only 200 ms, twice; memory is no matter of time.
func BenchmarkMemory(b *testing.B) {
	net := lab.Enter(b)
	if net == nil {
		return
	}
	sonde := build(b, "sonde")
	var all netip.Prefix
	for i, last := range []uint16{20, 10} {
		all = netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", 1+i))
		net.Host(b, lab.Config{
			Local:  []netip.Prefix{all},
			Listen: []lab.Listener{{Ports: lab.Port(80)}},
			Rules:  []lab.Rule{{Ports: lab.Range(1, last), Do: lab.Drop}},
		})
		b.Run(fmt.Sprintf("sonde-silent-%d", int(last)<<16), func(b *testing.B) {
			var rss int64
			for b.Loop() {
				o := run(b, 0, sonde, "scan", all.String(), "-p", "1-100", "--timeout", "200ms", "--attempts", "2", "--open", "-o", "json="+b.TempDir()+"/scan.json")
				rss = max(rss, o.rss)
				b.ReportMetric(o.took.Seconds(), "sonde-s")
			}
			b.ReportMetric(float64(rss)/1e6, "MB")
			b.ReportMetric(0, "ns/op")
		})
	}
	var once outcome
	b.Run("nmap", func(b *testing.B) {
		nmapOnce(b, &once, "-sT", "-T4", "-n", "-Pn", "-p", "1-100", all.String())
		b.ReportMetric(float64(once.rss)/1e6, "MB")
	})
}
