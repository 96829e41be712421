package bench

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// found is what a scan says of targets: the open ones, and how many there are of each state and reason.
type found struct {
	open    map[string]bool // "address port"
	states  map[string]uint64
	reasons map[string]uint64 // of all but the open
}

func newFound() found {
	return found{map[string]bool{}, map[string]uint64{}, map[string]uint64{}}
}

func (f *found) add(state, reason string, n uint64) {
	f.states[state] += n
	f.reasons[reason] += n
}

// missing counts what is in want and not in f; false positives are the other way round.
func missing(want, f map[string]bool) (n int) {
	for target := range want {
		if !f[target] {
			n++
		}
	}
	return n
}

// output returns the flags by which sonde writes what it found to a file, and a reader of it.
func output(b *testing.B) (flags []string, read func() found) {
	path := filepath.Join(b.TempDir(), "scan.json")
	return []string{"-o", "text", "-o", "json=" + path}, func() found { return ours(b, path) }
}

// ours reads sonde's JSON lines.
func ours(b *testing.B, path string) found {
	b.Helper()
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	f := newFound()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var l struct {
			Type, Addr, State, Reason, Ports string
			Port                             uint16
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			b.Fatalf("%s: %v", lines.Bytes(), err)
		}
		switch {
		case l.Type == "result" && l.State == "open":
			f.open[fmt.Sprint(l.Addr, " ", l.Port)] = true
			f.states["open"]++
		case l.Type == "result":
			f.add(l.State, l.Reason, 1)
		case l.Ports != "":
			f.add(l.State, l.Reason, ports(b, l.Ports))
		}
	}
	if err := lines.Err(); err != nil {
		b.Fatal(err)
	}
	return f
}

// ports counts the ports of a list like "1-20,22".
func ports(b *testing.B, list string) (n uint64) {
	for item := range strings.SplitSeq(list, ",") {
		var first, last uint64
		if k, _ := fmt.Sscanf(item, "%d-%d", &first, &last); k == 0 {
			b.Fatalf("ports %q", list)
		} else if k == 1 {
			last = first
		}
		n += last - first + 1
	}
	return n
}

// theirs reads nmap's XML, whole or not.
func theirs(text string) found {
	var doc struct {
		Hosts []struct {
			Addrs []struct {
				Addr string `xml:"addr,attr"`
			} `xml:"address"`
			Ports []struct {
				Port  uint16 `xml:"portid,attr"`
				State struct {
					State  string `xml:"state,attr"`
					Reason string `xml:"reason,attr"`
				} `xml:"state"`
			} `xml:"ports>port"`
			Others []struct {
				State   string `xml:"state,attr"`
				Count   uint64 `xml:"count,attr"`
				Reasons []struct {
					Reason string `xml:"reason,attr"`
					Count  uint64 `xml:"count,attr"`
				} `xml:"extrareasons"`
			} `xml:"ports>extraports"`
		} `xml:"host"`
	}
	_ = xml.Unmarshal([]byte(text), &doc) // of one that was ended, as far as it goes
	f := newFound()
	for _, h := range doc.Hosts {
		for _, p := range h.Ports {
			if p.State.State == "open" {
				f.open[fmt.Sprint(h.Addrs[0].Addr, " ", p.Port)] = true
				f.states["open"]++
				continue
			}
			f.add(p.State.State, p.State.Reason, 1)
		}
		for _, o := range h.Others {
			f.states[o.State] += o.Count
			for _, r := range o.Reasons {
				f.reasons[singular(r.Reason)] += r.Count
			}
		}
	}
	return f
}

// singular undoes the plural in which nmap counts reasons: no-responses, host-unreaches.
func singular(reason string) string {
	reason = strings.TrimSuffix(reason, "s")
	if strings.HasSuffix(reason, "che") {
		return strings.TrimSuffix(reason, "e")
	}
	return reason
}
