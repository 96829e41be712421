// Package lab gives tests real hosts: Linux network namespaces joined by veth pairs, with
// listeners, routes and firewall rules, so that what a prober concludes can be held against a known truth.
//
// A package that uses it opens its TestMain with Main, and each test that needs hosts opens with Enter:
//
//	func TestMain(m *testing.M) {
//		lab.Main()
//		goleak.VerifyTestMain(m)
//	}
//
//	func TestScan(t *testing.T) {
//		net := lab.Enter(t)
//		if net == nil {
//			return // it ran in the lab, and passed
//		}
//		host := net.Host(t, lab.Config{
//			Listen: []lab.Listener{{Ports: lab.Port(80)}},
//			Rules:  []lab.Rule{{Ports: lab.Range(100, 199), Do: lab.Drop}},
//		})
//		… // host.IPv4 and host.IPv6 answer: 80 open, 100 to 199 silent, all else closed
//	}
//
// Enter runs the test again, in a copy of the test binary that lives in a network namespace of its own.
// There the test process is the client: its sockets and its children see loopback and the lab's hosts,
// and nothing else. Each host is one more copy of the binary in one more namespace. A namespace is only
// ever entered by being born in it: no goroutine changes its own, so the Go scheduler cannot mix them up.
//
// For scans of a million probes a second there are hosts that need no kernel of their own: Config.Wire has an XDP program
// answer SYNs by a fixed rule (Truth) and count them (Host.Tally), and Host.Flood pours forged answers on the client. They need root,
// and Linux 5.18; their source is in bpf.
//
// The kernel does the rest: namespaces (as root, or in a user namespace), veth, nftables. No program is
// needed. Where this cannot be had, on another system or without the privileges, Enter skips the test and
// says why; with SONDE_LAB=require in the environment it fails it instead.
//
// The time of a test outside is that of the one inside and some 20 ms; a host takes 20 ms more. A benchmark works the
// same way, its results being those from inside. Flags of the user's (-run with subtests, -v, -short) go with the test.
//
// What was started ends with the test that started it, and with the test process however that dies.
package lab
