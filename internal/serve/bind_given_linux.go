package serve

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"sonde/internal/sock"
)

// Given returns the sockets that systemd has bound for this process (sd_listen_fds(3)), nil if there are none. It is to be called
// once, before other descriptors are opened: the environment forgets them. The caller closes the sockets.
func Given() (*Sockets, error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, nil
	}
	s := new(Sockets)
	var failed error
	for i, f := range files {
		if failed == nil {
			if err := s.adopt(f); err != nil {
				failed = fmt.Errorf("socket %d of %d that this process was given (%q) %w", i+1, len(files), f.Name(), err)
			}
		}
		_ = f.Close() // what is adopted has a descriptor of its own
	}
	if failed != nil {
		s.Close()
		return nil, failed
	}
	return s, nil
}

var (
	errNoSocket   = errors.New("is no socket")
	errConnection = errors.New("is a connection, not what accepts them; write Accept=no into the socket unit")
	errOtherKind  = errors.New("is neither TCP's nor UDP's; write ListenStream=PORT or ListenDatagram=PORT into the socket unit")
)

// adopt takes a listening TCP socket or a bound UDP socket.
func (s *Sockets) adopt(f *os.File) error {
	k, err := kindOf(f)
	switch {
	case err != nil:
		return errNoSocket
	case k.domain != unix.AF_INET && k.domain != unix.AF_INET6:
		return errOtherKind
	case k.kind == unix.SOCK_STREAM && !k.listens:
		return errConnection
	case k.kind == unix.SOCK_STREAM:
		l, err := net.FileListener(f)
		if err != nil {
			return err
		}
		s.TCP = append(s.TCP, l)
		return nil
	case k.kind != unix.SOCK_DGRAM:
		return errOtherKind
	}
	u, err := sock.AdoptUDP(f)
	if err != nil {
		return err
	}
	s.UDP = append(s.UDP, u)
	return nil
}

// A socketKind is what socket(7) says of a descriptor.
type socketKind struct {
	domain, kind int
	listens      bool
}

func kindOf(f *os.File) (k socketKind, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return k, err
	}
	var accepts int
	errControl := raw.Control(func(fd uintptr) {
		for _, o := range [...]struct {
			option int
			into   *int
		}{{unix.SO_DOMAIN, &k.domain}, {unix.SO_TYPE, &k.kind}, {unix.SO_ACCEPTCONN, &accepts}} {
			if err == nil {
				*o.into, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, o.option)
			}
		}
	})
	k.listens = accepts != 0
	return k, errors.Join(errControl, err)
}
