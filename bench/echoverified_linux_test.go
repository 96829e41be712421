package bench

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// The verified runs have a thousand million bytes echoed by sonde over TCP and ten million datagrams over UDP, and look at every
// byte that comes back. Nothing may be lost over TCP, and nothing changed or doubled; what UDP loses is told. First the client is
// sonde ping, then the benchmarks' own, which shares no code with it.
//
//	go test ./bench -run '^$' -bench Verified -benchtime 1x -timeout 30m
const verifiedBytes, verifiedDatagrams = 1_000_000_000, 10_000_000

// BenchmarkVerifiedByPing is that of sonde ping.
func BenchmarkVerifiedByPing(b *testing.B) {
	const message, datagram = 10_000, 64
	sonde := build(b, "sonde")
	here, there := processors(b)
	tcp := serve(b, there, "tcp", sonde, "echo", "--tcp", "127.0.0.1:0")
	udp := serve(b, there, "udp", sonde, "echo", "--udp", "127.0.0.1:0")
	for b.Loop() {
		t := tcp.ping(b, here, sonde, "--tcp", "--connections=16", "--window=16",
			fmt.Sprintf("--size=%d", message), fmt.Sprintf("--count=%d", verifiedBytes/message))
		if t.Lost+t.Late > 0 || t.Bytes != verifiedBytes {
			b.Errorf("tcp: %+v", t)
		}
		u := udp.ping(b, here, sonde, "--udp", "--connections=64", "--window=3",
			fmt.Sprintf("--size=%d", datagram), fmt.Sprintf("--count=%d", verifiedDatagrams))
		if u.Probes != verifiedDatagrams || u.Doubled > 0 {
			b.Errorf("udp: %+v", u)
		}
		if wrong := t.Corrupt + t.Truncated + u.Corrupt + u.Truncated; wrong > 0 {
			b.Errorf("%d changed: %+v, %+v", wrong, t, u)
		}
		b.ReportMetric(float64(t.Bytes), "tcp-bytes")
		b.ReportMetric(float64(t.Lost), "tcp-lost")
		b.ReportMetric(float64(u.Probes), "datagrams")
		b.ReportMetric(float64(u.Lost), "datagrams-lost")
		b.ReportMetric(t.Elapsed, "tcp-s")
		b.ReportMetric(u.Elapsed, "udp-s")
	}
	b.ReportMetric(0, "ns/op")
}

// A pinged is what sonde ping says at its end.
type pinged struct {
	Type                                            string
	Probes, Lost, Late, Corrupt, Truncated, Doubled uint64
	Bytes                                           uint64  `json:"bytes_verified"`
	Elapsed                                         float64 `json:"elapsed_s"`
}

// ping runs sonde ping, as fast as answers come.
func (s *server) ping(b *testing.B, cpu int, sonde string, args ...string) pinged {
	b.Helper()
	var out, errs strings.Builder
	cmd := exec.Command(sonde, append(append([]string{"ping", "--rate=max", "--output=json"}, args...), s.addr.String())...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	startOn(b, cpu, cmd)
	prioritize(b, cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		b.Fatalf("sonde ping %v: %v: %s", args, err, errs.String())
	}
	p, err := parsePinged(out.String())
	if err != nil {
		b.Fatalf("sonde ping %v: %v", args, err)
	}
	return p
}

// parsePinged reads the last line of what sonde ping says.
func parsePinged(out string) (p pinged, err error) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := lines[len(lines)-1]
	if err := json.Unmarshal([]byte(last), &p); err != nil || p.Type != "summary" {
		return p, fmt.Errorf("%q is no summary (%v)", last, err)
	}
	return p, nil
}

// BenchmarkVerified is that of the benchmarks' own client.
func BenchmarkVerified(b *testing.B) {
	client, sonde := compile(b, "load"), build(b, "sonde")
	here, there := processors(b)
	tcp := serve(b, there, "tcp", sonde, "echo", "--tcp", "127.0.0.1:0")
	udp := serve(b, there, "udp", sonde, "echo", "--udp", "127.0.0.1:0")
	for b.Loop() {
		t := tcp.load(b, here, client, "bulk", fmt.Sprintf("count=%d", verifiedBytes), "verify=1")
		if t.Bytes != verifiedBytes || t.Lost > 0 {
			b.Errorf("%d bytes of %d came back, %d are lost", t.Bytes, t.Sent, t.Lost)
		}
		u := udp.load(b, here, client, "udp", fmt.Sprintf("count=%d", verifiedDatagrams), "conns=64", "size=64", "window=3")
		if u.Sent != verifiedDatagrams {
			b.Errorf("%d datagrams were sent", u.Sent)
		}
		b.ReportMetric(float64(t.Bytes), "tcp-bytes")
		b.ReportMetric(float64(t.Lost), "tcp-lost")
		b.ReportMetric(float64(u.Sent), "datagrams")
		b.ReportMetric(float64(u.Lost), "datagrams-lost")
		b.ReportMetric(t.Seconds, "tcp-s")
		b.ReportMetric(u.Seconds, "udp-s")
	}
	b.ReportMetric(0, "ns/op")
}

func TestParsing(t *testing.T) {
	if a, ok := listening("listening tcp 127.0.0.1:4000"); !ok || a.Port() != 4000 {
		t.Errorf("listening: %v, %v", a, ok)
	}
	for _, line := range []string{"", "listening", "listening tcp", "listening tcp nowhere", "certificate sha256:00"} {
		if a, ok := listening(line); ok {
			t.Errorf("%q is taken for %v", line, a)
		}
	}
	l, err := parseLoad([]byte(`{"requests":10,"seconds":2,"bytes":640,"p50_us":1.5,"p99_us":2.5,"max_us":3,"sent":20,"lost":1,"changed":0,"doubled":0}`))
	if err != nil || l.perSecond() != 5 || l.bytesPerSecond() != 320 || l.P50 != 1.5 || l.P99 != 2.5 || l.Lost != 1 {
		t.Errorf("load: %+v, %v", l, err)
	}
	for _, out := range []string{"", "load: connect: Connection refused", `{"requests":1,"sent":1,"changed":1}`, `{"requests":1,"sent":1,"doubled":1}`} {
		if l, err := parseLoad([]byte(out)); err == nil {
			t.Errorf("%q is taken for %+v", out, l)
		}
	}
	p, err := parsePinged("{\"type\":\"start\"}\n{\"type\":\"summary\",\"probes\":7,\"lost\":1,\"bytes_verified\":384,\"elapsed_s\":1.5}\n")
	if err != nil || p.Probes != 7 || p.Lost != 1 || p.Bytes != 384 || p.Elapsed != 1.5 {
		t.Errorf("ping: %+v, %v", p, err)
	}
	if p, err := parsePinged("{\"type\":\"start\"}\n"); err == nil {
		t.Errorf("a ping without an end is %+v", p)
	}
}

func TestMiddleOf(t *testing.T) {
	at := func(requests ...uint64) (all []load) {
		for _, n := range requests {
			all = append(all, load{Requests: n, Seconds: 1})
		}
		return all
	}
	if r := middleOf(at(10, 20, 90), at(10, 10, 10), load.perSecond); r != 2 {
		t.Errorf("the median of 1, 2 and 9 is %v", r)
	}
}
