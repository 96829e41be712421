package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sonde/internal/probe"
	"sonde/internal/serve"
	"sonde/internal/sock"
)

// A bindAddr is what a server's ADDR says: HOST:PORT, HOST, PORT or :PORT. A port without a
// host stays on localhost: to be reached from elsewhere is said in so many words.
type bindAddr struct {
	host  string // a name, an address, localhost (both loopbacks) or * (every address)
	port  uint16
	named bool // the port stands in ADDR
}

const bindForms = "write HOST:PORT, HOST or PORT: localhost:9000, 9000, [::1]:9000, 192.0.2.1, *:9000 (every address)"

// parseBind reads an ADDR; what it leaves out is localhost and the default port.
func parseBind(text string, defaultPort uint16) (bindAddr, error) {
	if _, err := netip.ParseAddr(text); err == nil || text == "" || text == "*" {
		return withDefaults(text, defaultPort), nil
	}
	if allDigits(text) {
		text = ":" + text
	}
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") && strings.Count(inner, "]") == 1 {
		return withDefaults(strings.TrimSuffix(inner, "]"), defaultPort), nil
	}
	if !strings.Contains(text, ":") {
		return withDefaults(text, defaultPort), nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return bindAddr{}, misuse(fmt.Errorf("%q is no address to listen on", text), bindForms)
	}
	b := withDefaults(host, 0)
	b.port, err = parseBindPort(port)
	b.named = true
	return b, err
}

func withDefaults(host string, port uint16) bindAddr {
	if host == "" {
		host = "localhost"
	}
	return bindAddr{host: host, port: port}
}

func parseBindPort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	switch {
	case err == nil:
		return uint16(n), nil
	case allDigits(text):
		return 0, misuse(fmt.Errorf("port %s is out of range", text), "ports are 1 to 65535, and 0 takes one that is free")
	}
	return 0, misuse(fmt.Errorf("port %q is no number", text), bindForms)
}

func allDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// addrs returns the addresses to bind. A server's own address is one machine's.
func (b bindAddr) addrs(ctx context.Context) ([]netip.Addr, error) {
	addrs, err := b.lookUp(ctx)
	for _, a := range addrs {
		var kind string
		switch {
		case a.IsMulticast():
			kind = "multicast"
		case isBroadcast(a):
			kind = "broadcast"
		default:
			continue
		}
		return nil, misuse(fmt.Errorf("%v is a %s address: no server has it for its own", a, kind),
			fmt.Sprintf("listen on an address of this machine (%s), or on all of them: *:%d", ownAddresses(), b.port))
	}
	return addrs, err
}

// isBroadcast reports whether a is everybody's on all networks or on one of this machine's
// (RFC 919). A network of /31 or /32 has no such address (RFC 3021).
func isBroadcast(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	if a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	networks, _ := net.InterfaceAddrs() // without them, bind says what is wrong
	for _, n := range networks {
		p, err := netip.ParsePrefix(n.String())
		if err == nil && p.Addr().Is4() && p.Bits() < 31 && a == lastOf(p) {
			return true
		}
	}
	return false
}

// lastOf returns the last address of an IPv4 network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	last := binary.BigEndian.Uint32(b[:]) | ^uint32(0)>>p.Bits()
	binary.BigEndian.PutUint32(b[:], last)
	return netip.AddrFrom4(b)
}

func (b bindAddr) lookUp(ctx context.Context) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(b.host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	switch strings.ToLower(strings.TrimSuffix(b.host, ".")) {
	case "localhost":
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	case "*":
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, nil
	}
	addrs, err := family{}.lookUp(ctx, b.host)
	if err != nil {
		return nil, failure(err, "give an address of this machine, or * for all of them")
	}
	return addrs, nil
}

// bind binds what ADDR and the flags say and notes what the user may want to know of it.
func (a *app) bind(ctx context.Context, cmd *cobra.Command, addr bindAddr, f *serverFlags) (*serve.Sockets, error) {
	addrs, err := addr.addrs(ctx)
	if err != nil {
		return nil, err
	}
	want := serve.Want{Addrs: addrs, Port: addr.port}
	want.TCP, want.UDP = f.protocols()
	var sockets *serve.Sockets
	if f.ports != "" {
		sockets, err = a.bindPorts(ctx, f, want)
	} else if sockets, err = serve.Bind(ctx, want); err != nil {
		err = bindFailure(cmd, err)
	}
	if err != nil {
		return nil, err
	}
	a.noteBound(addrs, sockets)
	return sockets, nil
}

// noteBound notes what is missing, and who can reach what is there.
func (a *app) noteBound(addrs []netip.Addr, sockets *serve.Sockets) {
	if missing := absent(sockets.Missing); len(missing) > 0 {
		a.note("note: this machine has no %s; going on without", strings.Join(missing, ", no "))
	}
	for _, u := range sockets.UDP {
		if err := u.PacketInfo(); err != nil && u.LocalAddr().Addr().IsUnspecified() {
			a.note("note: %v", err)
			break
		}
	}
	if reachable(addrs) {
		a.note("note: other machines can reach this; localhost keeps it to this one")
	}
}

// reachable reports whether other machines can reach one of the addresses.
func reachable(addrs []netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !a.IsLoopback() })
}

// absent returns the addresses that could not be bound, each once.
func absent(missing []error) (addrs []string) {
	for _, err := range missing {
		var e *serve.BindError
		if errors.As(err, &e) && !slices.Contains(addrs, e.Addr.Addr().String()) {
			addrs = append(addrs, e.Addr.Addr().String())
		}
	}
	return addrs
}

// bindFailure words why an address could not be bound.
func bindFailure(cmd *cobra.Command, err error) error {
	var e *serve.BindError
	if !errors.As(err, &e) {
		return failure(err)
	}
	switch {
	case sock.IsInUse(err):
		return failure(fmt.Errorf("%v %v is in use by another program", e.Proto, e.Addr),
			"find it: "+whoListens(e), fmt.Sprintf("or take a port that is free: %s localhost:0", cmd.CommandPath()))
	case errors.Is(err, fs.ErrPermission):
		hints := []string{fmt.Sprintf("take a port of 1024 or more: %s localhost:%d", cmd.CommandPath(), 8000+int(e.Addr.Port())%1000)}
		if runtime.GOOS == "linux" {
			hints = append(hints, `or allow sonde low ports: sudo setcap cap_net_bind_service=+ep "$(command -v sonde)"`)
		}
		return failure(fmt.Errorf("no permission to listen on %v %v", e.Proto, e.Addr), hints...)
	case sock.IsNoAddress(err):
		return failure(fmt.Errorf("%v is no address of this machine", e.Addr.Addr()), "list its addresses: "+ownAddresses(), "or listen on all of them: *:"+strconv.Itoa(int(e.Addr.Port())))
	}
	return failure(fmt.Errorf("listen on %v %v: %w", e.Proto, e.Addr, e.Err))
}

// whoListens is the command that tells which program has an address.
func whoListens(e *serve.BindError) string {
	port := e.Addr.Port()
	switch runtime.GOOS {
	case "linux":
		kind := "t"
		if e.Proto == probe.UDP {
			kind = "u"
		}
		return fmt.Sprintf("ss -l%snp 'sport = :%d'", kind, port)
	case "windows":
		return fmt.Sprintf("netstat -ano | findstr :%d", port)
	}
	return fmt.Sprintf("lsof -nP -i %v:%d", e.Proto, port)
}

func ownAddresses() string {
	switch runtime.GOOS {
	case "linux":
		return "ip address"
	case "windows":
		return "ipconfig"
	}
	return "ifconfig"
}
