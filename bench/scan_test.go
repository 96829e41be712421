package bench

import (
	"strings"
	"testing"
	"time"

	"sonde/internal/lab"
)

// BenchmarkAnswering scans the 65,535 ports of a host on a veth pair that answers on every
// one: six accept, all others reset. Beside nmap there is what it costs at the least (testdata/epoll).
func BenchmarkAnswering(b *testing.B) {
	net := lab.Enter(b)
	if net == nil {
		return
	}
	nmap, sonde, epoll := find(b, "nmap"), build(b, "sonde"), build(b, "./testdata/epoll")
	host := net.Host(b, lab.Config{Listen: []lab.Listener{{Ports: lab.Port(22)}, {Ports: lab.Port(80)}, {Ports: lab.Range(40000, 40003)}}})
	addr := host.IPv4.String()
	var ours, nmaps, epolls []time.Duration
	for b.Loop() {
		o := run(b, 0, sonde, "scan", addr, "-p", "-")
		if !strings.Contains(o.out, "6 open, 65,529 closed") {
			b.Fatalf("sonde found something else: %s", o.out)
		}
		ours = append(ours, o.took)
		e := run(b, 0, epoll, addr, "128")
		if e.out != "6 open\n" {
			b.Fatalf("the epoll loop found %s", e.out)
		}
		epolls = append(epolls, e.took)
		n := run(b, 0, nmap, "-sT", "-T5", "-n", "-Pn", "-p", "-", addr)
		if strings.Count(n.out, " open ") != 6 {
			b.Logf("nmap found something else: %s", n.out)
		}
		nmaps = append(nmaps, n.took)
	}
	report(b, "sonde", ours)
	b.ReportMetric(median(nmaps).Seconds(), "nmap-s")
	b.ReportMetric(median(epolls).Seconds(), "epoll-s")
	b.ReportMetric(ratio(ours, nmaps), "of-nmap")
	b.ReportMetric(ratio(ours, epolls), "of-epoll")
}

// A row is one kind of work, done by sonde as often as asked and by nmap once.
type row struct {
	host   lab.Config
	target string   // the host itself, if empty
	ports  string   // for both programs
	sonde  []string // flags
	nmap   []string
	open   map[string]bool // what is really open; nil: six ports
	limit  int             // of descriptors; 0: as it is
	rounds int             // scans in a round of sonde's
}

// measure runs the sub-benchmarks sonde and nmap. Check, if not nil, gives more to report of a scan, under a prefix.
func (r row) measure(b *testing.B, check func(b *testing.B, who string, f found)) {
	net := lab.Enter(b)
	if net == nil {
		return
	}
	host := net.Host(b, r.host)
	if r.target == "" {
		r.target = host.IPv4.String()
	}
	if r.open == nil {
		r.open = six(r.target)
	}
	sonde := build(b, "sonde")
	var ours []time.Duration
	b.Run("sonde", func(b *testing.B) {
		flags, read := output(b)
		args := append(append([]string{"scan", r.target, "-p", r.ports}, flags...), r.sonde...)
		lacking, wrong, scans := 0, 0, 0
		var f found
		ours = nil
		for b.Loop() {
			for range max(r.rounds, 1) {
				o := r.run(b, sonde, args)
				f = read()
				ours, scans = append(ours, o.took), scans+1
				lacking, wrong = lacking+missing(r.open, f.open), wrong+missing(f.open, r.open)
			}
		}
		report(b, "sonde", ours)
		b.ReportMetric(float64(lacking), "missing")
		b.ReportMetric(float64(wrong), "false")
		b.ReportMetric(float64(scans), "scans")
		if check != nil {
			check(b, "sonde", f)
		}
	})
	var once outcome
	b.Run("nmap", func(b *testing.B) {
		nmapOnce(b, &once, append(append([]string{"-n", "-Pn", "-oX", "-", "-p", r.ports}, r.nmap...), r.target)...)
		f := theirs(once.out)
		b.ReportMetric(float64(missing(r.open, f.open)), "missing")
		b.ReportMetric(float64(missing(f.open, r.open)), "false")
		if len(ours) > 0 {
			b.ReportMetric(median(ours).Seconds()/once.took.Seconds(), "ratio")
		}
		if check != nil {
			check(b, "nmap", f)
		}
	})
}

func (r row) run(b *testing.B, sonde string, args []string) outcome {
	if r.limit > 0 {
		return withLimit(b, r.limit, sonde, args...)
	}
	return run(b, 0, sonde, args...)
}
