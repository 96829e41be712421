package cli

import (
	"net/netip"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sonde/internal/lab"
)

// The scripts in testdata/lab have hosts beside this one, in environment variables:
//
//	$HOST    listens on 80 and 443, is silent on 1000-1999 and refuses 2000-2099 as administratively prohibited
//	$HOST6   the same by IPv6
//	$PUBLIC  the same by an address that looks public
//	$BOX     accepts on every port; behind 22 a service speaks
//	$ONE     accepts on every port, with one service behind all of them
//	$PLAIN   listens on 80 and has 10.78.0.0/24, by a link that takes no redirected frames
//	$ASIDE   is by such a link, too, and nothing is ever sent to it
//	$LIMITED refuses all but port 22 as administratively prohibited, as often as Linux does
//
// 10.77.0.0/16 is a host whose link answers by itself (lab.Answerer).
func TestScriptsInLab(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	public := netip.MustParsePrefix("8.8.0.0/30")
	host := net.Host(t, lab.Config{
		GRO:    true,
		Local:  []netip.Prefix{public},
		Listen: []lab.Listener{{Ports: lab.Port(80)}, {Ports: lab.Port(443)}},
		Rules: []lab.Rule{
			{Ports: lab.Range(1000, 1999), Do: lab.Drop},
			{Ports: lab.Range(2000, 2099), Do: lab.AdminProhibited},
		},
		Sysctls: lab.NoICMPLimits(),
	})
	box := net.Host(t, lab.Config{Listen: []lab.Listener{{Ports: lab.Port(22), Banner: []byte("SSH-2.0-box\r\n")}, {}}})
	one := net.Host(t, lab.Config{Listen: []lab.Listener{{Banner: []byte("hello\r\n")}}})
	limited := net.Host(t, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Port(22)}},
		Rules:  []lab.Rule{{Ports: lab.Port(22), Do: lab.Accept}, {Do: lab.AdminProhibited}},
	})
	plain := net.Host(t, lab.Config{Listen: []lab.Listener{{Ports: lab.Port(80)}}, Local: []netip.Prefix{netip.MustParsePrefix("10.78.0.0/24")}})
	aside := net.Host(t, lab.Config{})
	net.Host(t, lab.Config{Wire: lab.Answerer, Local: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16")}})
	runScripts(t, "testdata/lab", func(env *testscript.Env) error {
		env.Setenv("HOST", host.IPv4.String())
		env.Setenv("HOST6", host.IPv6.String())
		env.Setenv("BOX", box.IPv4.String())
		env.Setenv("ONE", one.IPv4.String())
		env.Setenv("LIMITED", limited.IPv4.String())
		env.Setenv("PLAIN", plain.IPv4.String())
		env.Setenv("ASIDE", aside.IPv4.String())
		env.Setenv("PUBLIC", public.Addr().Next().String())
		return nil
	})
}
