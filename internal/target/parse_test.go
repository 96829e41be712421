package target

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"sonde/internal/probe"
)

// few knows two services.
type few struct{}

func (few) Ports(name string, proto probe.Proto) []uint16 {
	if proto == probe.UDP {
		if strings.EqualFold(name, "dns") {
			return []uint16{53}
		}
		return nil
	}
	switch strings.ToLower(name) {
	case "http":
		return []uint16{80}
	case "http-alt":
		return []uint16{591, 8008, 8080}
	}
	return nil
}

func (few) Top(n int, proto probe.Proto) []uint16 {
	ports := make([]uint16, n)
	for i := range ports {
		ports[i] = uint16(65535 - i)
		if proto == probe.UDP {
			ports[i] = uint16(1 + i)
		}
	}
	return ports
}

func TestParsePorts(t *testing.T) {
	for list, want := range map[string]string{
		"80,22,443":        "22,80,443",
		"1-1024":           "1-1024",
		"-":                "1-65535",
		"all":              "1-65535",
		"ALL":              "1-65535",
		"-1024":            "1-1024",
		"65000-":           "65000-65535",
		"http":             "80",
		"HTTP, 22":         "22,80",
		"http-alt":         "591,8008,8080",
		"top:3":            "65533-65535",
		"22,22,20-23":      "20-23",
		"1,2,3,5":          "1-3,5",
		" 80 ":             "80",
		"00080":            "80",
		"1-65535,http-alt": "1-65535",

		"U:53,161,T:22,80":    "T:22,80,U:53,161",
		"22,u:53":             "T:22,U:53",
		"udp:53,TCP:80,Udp:9": "T:80,U:9,53",
		"U:-":                 "U:1-65535",
		"U:all,T:-":           "T:1-65535,U:1-65535",
		"U:top:3":             "U:1-3",
		"U:top:2,top:3":       "U:1-3",
		"top:1,U:TOP:1":       "T:65535,U:1",
		"U:dns":               "U:53",
		"T:http,U:DNS":        "T:80,U:53",
		"U:-3,60000-":         "U:1-3,60000-65535",
		"U: 53":               "U:53",
		"T:22":                "22",
		"T:1-10,U:5-7,T:11":   "T:1-11,U:5-7",
	} {
		p, err := ParsePorts(list, probe.TCP, few{})
		if err != nil || p.String() != want {
			t.Errorf("ParsePorts(%q) = %q, %v; want %q", list, p, err, want)
		}
	}
}

// Under UDP the same words mean UDP's ports.
func TestParsePortsOfUDP(t *testing.T) {
	for list, want := range map[string]string{
		"53,161":    "U:53,161",
		"dns":       "U:53",
		"top:2":     "U:1-2",
		"-":         "U:1-65535",
		"53,T:53":   "T:53,U:53",
		"T:top:1,9": "9,65535",
	} {
		p, err := ParsePorts(list, probe.UDP, few{})
		if err != nil || p.String() != want {
			t.Errorf("ParsePorts(%q) = %q, %v; want %q", list, p, err, want)
		}
	}
	if p, _ := ParsePorts("U:53,60-61", probe.TCP, few{}); p.Numbers() != "53,60-61" {
		t.Errorf("Numbers() = %q", p.Numbers())
	}
}

func TestParsePortsRefuses(t *testing.T) {
	for list, want := range map[string]string{
		"":                     "empty",
		"  ":                   "empty",
		"22,":                  "empty item",
		",22":                  "empty item",
		"0":                    "port 0",
		"0-22":                 "port 0",
		"70000":                "out of range",
		"1-70000":              "out of range",
		"99999999999999999999": "out of range",
		"80-22":                "backwards; write 22-80",
		"1-2-3":                "not a port",
		"--":                   "not a port",
		"htp":                  "neither a port nor a service",
		"top:0":                "top:N",
		"top:":                 "top:N",
		"top:70000":            "top:N",
		"S:53":                 "neither a port nor a service",
		"U:http":               "neither a port nor a UDP service",
		"U:":                   "names a protocol and no port",
		"U:,53":                "names a protocol and no port",
		"U:T:53":               "two protocols",
		"U:0":                  "port 0",
		"U:53,":                "empty item",
		"U:top:0":              "top:N",
	} {
		if _, err := ParsePorts(list, probe.TCP, few{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePorts(%q): error %v, want one with %q", list, err, want)
		}
	}
	var unknown *UnknownServiceError
	if _, err := ParsePorts("htp", probe.TCP, few{}); !errors.As(err, &unknown) || unknown.Name != "htp" {
		t.Errorf("an unknown service is %v", err)
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]Spec{
		"example.com":                {Name: "example.com"},
		"example.com.":               {Name: "example.com"},
		"my-host":                    {Name: "my-host"},
		"10-0-0-1.example.com":       {Name: "10-0-0-1.example.com"},
		"a_b.example":                {Name: "a_b.example"},
		"bücher.example":             {Name: "bücher.example"},
		"example.com:22,80-90":       {Name: "example.com", Ports: tcp(22, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90)},
		"example.com:http":           {Name: "example.com", Ports: tcp(80)},
		"192.0.2.7":                  {First: addr("192.0.2.7"), Last: addr("192.0.2.7")},
		"192.0.2.7:22":               {First: addr("192.0.2.7"), Last: addr("192.0.2.7"), Ports: tcp(22)},
		"::1":                        {First: addr("::1"), Last: addr("::1")},
		"[::1]":                      {First: addr("::1"), Last: addr("::1")},
		"[::1]:22":                   {First: addr("::1"), Last: addr("::1"), Ports: tcp(22)},
		"fe80::1%eth0":               {First: addr("fe80::1%eth0"), Last: addr("fe80::1%eth0")},
		"fe80::1%eth0.100":           {First: addr("fe80::1%eth0.100"), Last: addr("fe80::1%eth0.100")},
		"[fe80::1%eth0]:22":          {First: addr("fe80::1%eth0"), Last: addr("fe80::1%eth0"), Ports: tcp(22)},
		"::ffff:192.0.2.7":           {First: addr("192.0.2.7"), Last: addr("192.0.2.7")},
		"192.0.2.0/24":               {First: addr("192.0.2.0"), Last: addr("192.0.2.255")},
		"192.0.2.77/24":              {First: addr("192.0.2.0"), Last: addr("192.0.2.255")},
		"192.0.2.0/31:443":           {First: addr("192.0.2.0"), Last: addr("192.0.2.1"), Ports: tcp(443)},
		"::ffff:192.0.2.0/120":       {First: addr("192.0.2.0"), Last: addr("192.0.2.255")},
		"2001:db8::/120":             {First: addr("2001:db8::"), Last: addr("2001:db8::ff")},
		"[2001:db8::/120]:22":        {First: addr("2001:db8::"), Last: addr("2001:db8::ff"), Ports: tcp(22)},
		"10.0.0.1-20":                {First: addr("10.0.0.1"), Last: addr("10.0.0.20")},
		"10.0.0.1-10.0.1.5":          {First: addr("10.0.0.1"), Last: addr("10.0.1.5")},
		"10.0.0.1-20:22":             {First: addr("10.0.0.1"), Last: addr("10.0.0.20"), Ports: tcp(22)},
		"2001:db8::1-2001:db8::9":    {First: addr("2001:db8::1"), Last: addr("2001:db8::9")},
		"localhost:U:53":             {Name: "localhost", Ports: PortList(probe.UDP, 53)},
		"localhost:top:1":            {Name: "localhost", Ports: tcp(65535)},
		"localhost:22,U:53":          {Name: "localhost", Ports: tcp(22).Union(PortList(probe.UDP, 53))},
		"face:udp:53,tcp:53":         {Name: "face", Ports: tcp(53).Union(PortList(probe.UDP, 53))},
		"192.0.2.7:u:dns":            {First: addr("192.0.2.7"), Last: addr("192.0.2.7"), Ports: PortList(probe.UDP, 53)},
		"[::1]:U:53,T:22":            {First: addr("::1"), Last: addr("::1"), Ports: tcp(22).Union(PortList(probe.UDP, 53))},
		"[2001:db8::1-2001:db8::9]:": {}, // refused below
	} {
		if text == "[2001:db8::1-2001:db8::9]:" {
			continue
		}
		got, err := ParseTarget(text, probe.TCP, few{})
		if err != nil {
			t.Errorf("ParseTarget(%q): %v", text, err)
			continue
		}
		if got.Name != want.Name || got.First != want.First || got.Last != want.Last || !got.Ports.Equal(want.Ports) {
			t.Errorf("ParseTarget(%q) = %+v, want %+v", text, got, want)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "no host",
		":22":                        "no host",
		"host:":                      "empty",
		"host:0":                     "port 0",
		"host:22:80":                 "", // two colons: neither
		"host:U:":                    "no port",
		"2001:db8::1,U:53":           "written [ADDRESS]:PORTS",
		"[::1":                       "not closed",
		"[::1]22":                    "only :PORTS",
		"[host]:22":                  "brackets are for IPv6",
		"[2001:db8::1-2001:db8::9]:": "empty",
		"300.1.1.1":                  "no IPv4 address",
		"1.2.3":                      "no IPv4 address",
		"1.2.3.4.5":                  "no IPv4 address",
		"01.2.3.4":                   "no IPv4 address",
		"10.0.0.0/33":                "no prefix",
		"host/24":                    "no prefix",
		"10.0.0.9-3":                 "write 10.0.0.3-10.0.0.9",
		"10.0.0.1-300":               "no end of a range",
		"10.0.0.1-host":              "no end of a range",
		"10.0.0.1-::1":               "",
		"2001:db8::1-ff":             "no end of a range",
		"fe80::1%eth0-fe80::2%eth0":  "", // a zone's name may have a hyphen
		"fe80::1-fe80::2%eth0":       "zone",
		"2001:db8::g":                "no IPv6 address",
		"::ffff:0:0/90":              "at least 96 bits",
		"a b":                        "cannot be part",
		"a,b":                        "cannot be part",
		"a..b":                       "1 to 63",
		"-/-":                        "no prefix",
		strings.Repeat("a", 64):      "1 to 63",
	} {
		spec, err := ParseTarget(text, probe.TCP, few{})
		if want == "" && err == nil && spec.First.Zone() != "" {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "target ") {
			t.Errorf("ParseTarget(%q) = %+v, error %v; want one with %q", text, spec, err, want)
		}
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"80,22", "1-1024", "-", "top:5", "http", "60000-", "0", "70000", "80-22", ",", "1-2-3", "U:53,T:22", "u:top:3", "U:-,T:-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		p, err := ParsePorts(list, probe.TCP, few{})
		if err != nil {
			return
		}
		if p.Len() == 0 || p.Len() > 2*65535 {
			t.Fatalf("%q has %d ports", list, p.Len())
		}
		if again, err := ParsePorts(p.String(), probe.TCP, few{}); err != nil || !again.Equal(p) {
			t.Fatalf("%q is %q, which reads back as %q, %v", list, p, again, err)
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"host:22", "[::1]:22", "10.0.0.0/8", "10.0.0.1-20", "fe80::1%eth0", "::ffff:1.2.3.4/120", "a-b", "[", "]:", "1.2.3.4-::1", "h:U:53", "[::1]:22,U:53", "h:top:2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := ParseTarget(text, probe.TCP, few{})
		if err != nil {
			return
		}
		if (spec.Name != "") == spec.First.IsValid() {
			t.Fatalf("%q is %+v: neither a name nor addresses, or both", text, spec)
		}
		if spec.Name != "" {
			return
		}
		if spec.First.Is4() != spec.Last.Is4() || spec.Last.Less(spec.First) || spec.First.Is4In6() {
			t.Fatalf("%q is %v to %v", text, spec.First, spec.Last)
		}
		checkBuilt(t, spec)
	})
}

// checkBuilt asserts that whatever was read can be built, or is refused as too many.
func checkBuilt(t *testing.T, spec Spec) {
	var b Builder
	b.Add(spec.First, spec.Last, tcp(1, 2))
	space, err := b.Space()
	if err != nil {
		return
	}
	for _, a := range []netip.Addr{spec.First, spec.Last} {
		if _, ok := space.Rank(a); !ok {
			t.Fatalf("%q: %v is not of its space", spec.Text, a)
		}
	}
}
