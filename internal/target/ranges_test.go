package target

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"sonde/internal/probe"
)

func again(t interface{ Fatal(...any) }, s Space) (Space, string) {
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Space
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	return back, string(text)
}

// Rebuilt from its ranges, a space is what it was: in its numbers too, on which the order of a scan hangs.
func TestRangesRebuildTheSpace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Builder
		for _, n := range rapid.SliceOfN(rapid.Custom(drawNaming), 0, 8).Draw(t, "namings") {
			ports := n.ports
			if rapid.Bool().Draw(t, "udp") {
				ports = ports.Union(PortList(probe.UDP, 53, 161))
			}
			if n.exclude {
				b.Exclude(n.first, n.last)
			} else {
				b.Add(n.first, n.last, ports)
			}
		}
		special, public, _, err := b.Split()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []Space{special, public} {
			back, text := again(t, s)
			if s.Len() != back.Len() {
				t.Fatalf("%s: %d targets, were %d", text, back.Len(), s.Len())
			}
			for i := range s.Len() {
				if s.At(i) != back.At(i) {
					t.Fatalf("%s: At(%d) is %v, was %v", text, i, back.At(i), s.At(i))
				}
			}
			if _, text2 := again(t, back); text2 != text {
				t.Fatalf("%s becomes %s", text, text2)
			}
		}
	})
}

func TestRangesAreCompact(t *testing.T) {
	var b Builder
	b.Add(addr("10.0.0.0"), addr("10.255.255.255"), tcp(22, 80, 81, 82).Union(PortList(probe.UDP, 53)))
	b.Add(addr("fe80::1%eth-0.5"), addr("fe80::1%eth-0.5"), tcp(22))
	b.Add(addr("fe80::2%eth-0.5"), addr("fe80::2%eth-0.5"), tcp(22))
	b.Add(addr("::1"), addr("::1"), PortList(probe.Echo, 1))
	s, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	back, text := again(t, s)
	want := `[{"ports":{"tcp":"22,80-82","udp":"53"},"addrs":["10.0.0.0 - 10.255.255.255"]},` +
		`{"ports":{"icmp":"1"},"addrs":["::1"]},{"ports":{"tcp":"22"},"addrs":["fe80::1%eth-0.5 - fe80::2%eth-0.5"]}]`
	if text != want {
		t.Errorf("written as %s", text)
	}
	if !reflect.DeepEqual(s, back) {
		t.Errorf("read back as %+v, want %+v", back, s)
	}
	if back, text = again(t, Space{}); text != "[]" || back.Len() != 0 {
		t.Errorf("nothing is written as %s", text)
	}
}

func TestRangesThatAreNone(t *testing.T) {
	for _, text := range []string{
		`{}`, `[{"addrs":["10.0.0.1"]}]`, `[{"ports":{},"addrs":["10.0.0.1"]}]`, `[{"ports":{"tcp":""},"addrs":["10.0.0.1"]}]`,
		`[{"ports":{"tcp":"0"},"addrs":["10.0.0.1"]}]`, `[{"ports":{"tcp":"90-80"},"addrs":["10.0.0.1"]}]`,
		`[{"ports":{"tcp":"1-65536"},"addrs":["10.0.0.1"]}]`, `[{"ports":{"sctp":"1"},"addrs":["10.0.0.1"]}]`,
		`[{"ports":{"tcp":"1"},"addrs":["10.0.0.9 - 10.0.0.1"]}]`, `[{"ports":{"tcp":"1"},"addrs":["10.0.0.1 - ::1"]}]`,
		`[{"ports":{"tcp":"1"},"addrs":["fe80::1%a - fe80::2%b"]}]`, `[{"ports":{"tcp":"1"},"addrs":["localhost"]}]`,
		`[{"ports":{"tcp":"1"},"addrs":[":: - ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]}]`,
	} {
		var s Space
		if err := json.Unmarshal([]byte(text), &s); err == nil {
			t.Errorf("%s is read as %d targets", text, s.Len())
		}
	}
}

// Whatever is read, what it is written as reads the same.
func FuzzRanges(f *testing.F) {
	f.Add([]byte(`[{"ports":{"tcp":"22,80-82","udp":"53"},"addrs":["10.0.0.0 - 10.255.255.255","::1"]}]`))
	f.Add([]byte(`[{"ports":{"tcp":"1-9,5"},"addrs":["fe80::1%a - fe80::2%a","10.0.0.0 - 10.0.0.9","10.0.0.3"]}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s Space
		if json.Unmarshal(text, &s) != nil {
			return
		}
		back, first := again(t, s)
		if _, second := again(t, back); first != second {
			t.Fatalf("%s becomes %s", first, second)
		}
		if !reflect.DeepEqual(s, back) {
			t.Fatalf("%s is %+v, rebuilt %+v", first, s, back)
		}
	})
}
