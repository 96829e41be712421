package cli

import (
	"errors"
	"fmt"

	"sonde/internal/serve"
)

// given returns the sockets that systemd has bound for this process, if it has. They take ADDR's place.
func (f *serverFlags) given(args []string) (*serve.Sockets, error) {
	sockets, err := serve.Given()
	if err != nil {
		return nil, failure(err, "see systemd.socket(5)")
	}
	if sockets == nil {
		return nil, nil
	}
	if err := f.fits(sockets, args); err != nil {
		sockets.Close()
		return nil, err
	}
	return sockets, nil
}

// fits refuses what was said beside the sockets and does not go with them.
func (f *serverFlags) fits(given *serve.Sockets, args []string) error {
	const start = "leave it out, or start without a socket unit"
	tcp, udp := f.protocols()
	switch {
	case len(args) > 0:
		return misuse(fmt.Errorf("systemd gave the sockets, so %q cannot be the address as well", args[0]), start)
	case f.ports != "":
		return misuse(errors.New("systemd gave the sockets, so --ports cannot name others"), start)
	case len(given.TCP) > 0 && !tcp:
		return misuse(fmt.Errorf("--udp, but systemd gave a TCP socket, %v", given.TCP[0].Addr()), "leave it out, or write ListenDatagram= into the socket unit")
	case len(given.UDP) > 0 && !udp && f.tls.wanted():
		return misuse(fmt.Errorf("TLS is over TCP, but systemd gave a UDP socket, %v", given.UDP[0].LocalAddr()), "write ListenStream= into the socket unit")
	case len(given.UDP) > 0 && !udp:
		return misuse(fmt.Errorf("--tcp, but systemd gave a UDP socket, %v", given.UDP[0].LocalAddr()), "leave it out, or write ListenStream= into the socket unit")
	}
	return nil
}
