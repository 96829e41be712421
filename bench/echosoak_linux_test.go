package bench

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// BenchmarkSoak loads sonde over TCP, UDP and TLS for SONDE_BENCH_SOAK (a Go duration, 10m by default), while a hundred connections a second
// come and go, half of them by a RST. It fails if anything is lost over TCP or changed, and if a server's memory or
// descriptors are not flat. It is no part of -bench Echo.
//
//	go test ./bench -run '^$' -bench Soak -benchtime 1x -timeout 30m
func BenchmarkSoak(b *testing.B) {
	length, err := time.ParseDuration(orElse(os.Getenv("SONDE_BENCH_SOAK"), "10m"))
	if err != nil {
		b.Fatalf("SONDE_BENCH_SOAK: %v", err)
	}
	client, sonde := compile(b, "load"), build(b, "sonde")
	here, there := processors(b)
	plain := serve(b, there, "tcp", sonde, "echo", "--tcp", "127.0.0.1:0")
	udp := serve(b, there, "udp", sonde, "echo", "--udp", "127.0.0.1:0")
	over := serveTLS(b, there, sonde)
	servers := []*server{plain, udp, over}
	seconds := fmt.Sprintf("seconds=%.0f", length.Seconds())
	for b.Loop() {
		ends := map[string]func() (load, error){
			"tcp":   plain.begin(b, here, client, "tcp", "conns=64", "size=1024", seconds),
			"churn": plain.begin(b, here, client, "churn", "rate=100", seconds),
			"udp":   udp.begin(b, here, client, "udp", "conns=64", "rate=5000", seconds),
		}
		var tls errgroup.Group
		until := time.Now().Add(length)
		for range 8 {
			tls.Go(func() error { return talkTLS(over, until) })
		}
		for _, w := range watch(b, servers, length) {
			w.tell(b)
		}
		if err := tls.Wait(); err != nil {
			b.Errorf("tls: %v", err)
		}
		for name, end := range ends {
			l, err := end()
			if err != nil || l.Lost > 0 && name != "udp" {
				b.Errorf("%s: %d lost; %v", name, l.Lost, err)
			}
			b.ReportMetric(float64(l.Sent), name+"-sent")
			b.ReportMetric(float64(l.Lost), name+"-lost")
		}
	}
	b.ReportMetric(0, "ns/op")
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// serveTLS starts sonde with TLS, or skips.
func serveTLS(b *testing.B, cpu int, sonde string) *server {
	b.Helper()
	if help, err := exec.Command(sonde, "echo", "--help").CombinedOutput(); err != nil || !strings.Contains(string(help), "--tls") {
		b.Skipf("this sonde has no echo --tls (%v)", err)
	}
	return serve(b, cpu, "sonde-tls", sonde, "echo", "--tcp", "--tls", "127.0.0.1:0")
}

// talkTLS has a KB echoed a hundred times a second, over a new connection every second.
func talkTLS(s *server, until time.Time) error {
	message := make([]byte, 1024)
	for number := byte(0); time.Now().Before(until); number++ {
		c, err := dialTLS(s)
		if err != nil {
			return err
		}
		for i := range 100 {
			message[0], message[1] = number, byte(i)
			if err := exchange(c, message); err != nil {
				return err
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

// A holding is what a server had at sixty times.
type holding struct {
	*server
	memory, open []float64 // MB, descriptors
}

// watch looks at servers sixty times in as long as it is told.
func watch(b *testing.B, servers []*server, length time.Duration) []*holding {
	b.Helper()
	const times = 60
	var all []*holding
	for _, s := range servers {
		all = append(all, &holding{server: s})
	}
	for range times {
		time.Sleep(length / times)
		for _, h := range all {
			memory, open := h.holdings(b)
			h.memory, h.open = append(h.memory, float64(memory)/1e6), append(h.open, float64(open))
		}
	}
	return all
}

// tell reports a server's memory and descriptors, and fails if they are not flat: memory by 3 % and 0.5 MB, descriptors by as
// many as the connections that come and go may have.
func (h *holding) tell(b *testing.B) {
	b.Helper()
	for _, v := range []struct {
		unit           string
		values         []float64
		share, several float64
	}{{"MB", h.memory, 0.03, 0.5}, {"fds", h.open, 0, 8}} {
		second, last, ok := flat(v.values, v.share, v.several)
		b.ReportMetric(second, h.name+"-second-third-"+v.unit)
		b.ReportMetric(last, h.name+"-last-third-"+v.unit)
		if !ok {
			b.Errorf("%s grows: %.2f %s in the second third of the time, %.2f in the last: %.2f", h.name, second, v.unit, last, v.values)
		}
	}
}

// flat says whether values do not grow: the mean of the last third may be above that of the second by a share of it and by so much.
func flat(values []float64, share, several float64) (second, last float64, ok bool) {
	third := len(values) / 3
	second, last = mean(values[third:2*third]), mean(values[len(values)-third:])
	return second, last, last <= second*(1+share)+several
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func TestFlat(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []float64
		flat   bool
	}{
		{"still", []float64{10, 10, 10, 10, 10, 10}, true},
		{"grown at first", []float64{1, 5, 20, 20, 20, 20}, true},
		{"shaking", []float64{20, 20, 19, 21, 21, 19.5}, true},
		{"shrinking", []float64{30, 30, 30, 30, 10, 10}, true},
		{"growing", []float64{10, 11, 12, 13, 14, 15}, false},
		{"leaping at the end", []float64{10, 10, 10, 10, 10, 14}, false},
	} {
		if _, _, ok := flat(test.values, 0.03, 0.5); ok != test.flat {
			t.Errorf("%s: flat is %v", test.name, ok)
		}
	}
}
