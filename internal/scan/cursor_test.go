package scan

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"sonde/internal/probe"
	"sonde/internal/target"
)

// drawSpace draws groups of hosts with ports of their own.
func drawSpace(t *rapid.T) target.Space {
	var b target.Builder
	for i := range rapid.IntRange(1, 4).Draw(t, "groups") {
		hosts := rapid.IntRange(1, 300).Draw(t, "hosts")
		first := netip.AddrFrom4([4]byte{10, byte(i), 0, 1})
		last := first
		for range hosts - 1 {
			last = last.Next()
		}
		var ports []uint16
		for range rapid.IntRange(1, 400).Draw(t, "ports") {
			ports = append(ports, rapid.Uint16Range(1, 2000).Draw(t, "port"))
		}
		b.Add(first, last, target.PortList(probe.TCP, ports...))
	}
	s, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A cursor says what Plan.At says, wherever it is moved.
func TestCursor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan := NewPlan(drawSpace(t), rapid.Uint64().Draw(t, "seed"))
		c := &cursor{plan: &plan}
		n := plan.Space.Len()
		for range 5 {
			place := rapid.Uint64Range(0, n-1).Draw(t, "place")
			down := rapid.Bool().Draw(t, "down")
			for range 500 {
				if got, want := c.at(place), plan.At(place); got != want {
					t.Fatalf("place %d: %v, want %v", place, got, want)
				}
				if place == 0 && down || place == n-1 && !down {
					break
				}
				if place++; down {
					place -= 2
				}
			}
		}
	})
}

func BenchmarkCursor(b *testing.B) {
	for _, shape := range []struct {
		name  string
		last  string
		ports int
	}{{"65536 hosts x 32 ports", "10.0.255.255", 32}, {"2^24 hosts x 1 port", "10.255.255.255", 1}} {
		b.Run(shape.name, func(b *testing.B) {
			var list []uint16
			for i := range shape.ports {
				list = append(list, uint16(20+7*i))
			}
			var builder target.Builder
			builder.Add(netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr(shape.last), target.PortList(probe.TCP, list...))
			space, err := builder.Space()
			if err != nil {
				b.Fatal(err)
			}
			plan := NewPlan(space, 1)
			c, place := &cursor{plan: &plan}, uint64(0)
			for b.Loop() {
				c.at(place)
				if place++; place == space.Len() {
					place = 0
				}
			}
		})
	}
}
