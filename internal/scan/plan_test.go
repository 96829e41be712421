package scan_test

import (
	"testing"

	"pgregory.net/rapid"

	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// Shards hold every target once, and so do the spans of each; what a span says of its hosts adds up to the whole.
func TestShardsPartitionThePlan(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		hosts := rapid.IntRange(1, 40).Draw(rt, "hosts")
		s := space(t, hosts, rapid.SampledFrom([]string{"1", "1-3", "1-4000", "1-60000"}).Draw(rt, "ports"))
		plan := scan.NewPlan(s, rapid.Uint64().Draw(rt, "seed"))
		plan.Attempts = 1
		n := rapid.Uint64Range(1, 9).Draw(rt, "shards")
		seen := make([]bool, s.Len())
		asked := map[probe.Target]int{}
		next := uint64(0)
		for i := uint64(1); i <= n; i++ {
			part := plan.Shard(i, n)
			if part.Lo != next || part.Hi-part.Lo > s.Len()/n+1 {
				rt.Fatalf("shard %d of %d is %v of %d", i, n, part, s.Len())
			}
			next = part.Hi
			for span := range plan.Spans(part, rapid.Uint64Range(1, 2*s.Len()).Draw(rt, "span")) {
				for place := span.Lo; place < span.Hi; place++ {
					if seen[place] {
						rt.Fatalf("place %d twice", place)
					}
					seen[place] = true
				}
				if s.Len() < 5000 {
					countAsked(t, plan, span, asked)
				}
			}
		}
		if next != s.Len() {
			rt.Fatalf("the shards end at %d of %d", next, s.Len())
		}
		for place, ok := range seen {
			if !ok {
				rt.Fatalf("place %d is in no span", place)
			}
		}
		if s.Len() < 5000 && uint64(len(asked)) != s.Len() {
			rt.Fatalf("the spans' hosts have %d targets of %d", len(asked), s.Len())
		}
		for target, times := range asked {
			if times != 1 {
				rt.Fatalf("%v belongs to %d spans", target, times)
			}
		}
	})
}

// countAsked counts the targets that a span says to have asked of its hosts.
func countAsked(t *testing.T, plan scan.Plan, span scan.Span, asked map[probe.Target]int) {
	s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: span, Prober: answers{probe.Closed}, Sink: &found{}})
	if err != nil {
		t.Fatal(err)
	}
	hosts := uint64(0)
	for h := range s.EachHost() {
		hosts++
		for _, target := range each(h.Addr.String(), h.Asked) {
			asked[target]++
		}
	}
	if hosts != s.Hosts {
		t.Fatalf("%d hosts, counted %d", hosts, s.Hosts)
	}
}

func each(addr string, ports target.Ports) (all []probe.Target) {
	for j := range ports.Len() {
		proto, port := ports.At(j)
		all = append(all, at(addr, proto, port))
	}
	return all
}
