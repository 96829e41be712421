package lab

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sonde/internal/probe"
)

// A server is the services of one host: one loop over all their sockets, so that ten thousand ports cost no more
// than their sockets. Its loop owns it.
type server struct {
	epoll   int
	sockets map[int32]Listener // by descriptor; a descriptor that is not here is a held connection
	asked   map[int32]Listener // the connections that Answer
	buf     []byte
	control []byte
}

// serve opens a socket for each port of the listeners and starts the loop, which lasts as long as the host does.
func serve(listeners []Listener) error {
	if len(listeners) == 0 {
		return nil
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	s := &server{epoll: epoll, sockets: map[int32]Listener{}, asked: map[int32]Listener{}, buf: make([]byte, 1<<16), control: make([]byte, 256)}
	for _, l := range listeners {
		if l.Ports.all() {
			if err := s.openAll(l, listeners); err != nil {
				return fmt.Errorf("accept everything: %w", err)
			}
			continue
		}
		for port := int(l.Ports.First); port <= int(l.Ports.Last); port++ {
			if _, err := s.open(l, port); err != nil {
				return fmt.Errorf("listen on %v port %d: %w", l.Proto, port, err)
			}
		}
	}
	go func() {
		fmt.Fprintln(os.Stderr, "lab host: serve:", s.loop())
		os.Exit(1)
	}()
	return nil
}

// open binds one port for both families and watches it.
func (s *server) open(l Listener, port int) (fd int, err error) {
	kind := unix.SOCK_STREAM
	options := [][3]int{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}, {unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0}}
	if l.Proto == probe.UDP {
		// The reply comes from the address that was asked, though it be one of a prefix that is local only by its route.
		kind = unix.SOCK_DGRAM
		options = [][3]int{{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0}, {unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1}, {unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1}}
	}
	if l.Ports.all() {
		options = append(options, [3]int{unix.SOL_IP, unix.IP_TRANSPARENT, 1})
	}
	fd, err = unix.Socket(unix.AF_INET6, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fd, err
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return fd, err
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet6{Port: port}); err != nil {
		return fd, err
	}
	if l.Proto == probe.TCP {
		if err := unix.Listen(fd, cmp.Or(l.Backlog, 4096)); err != nil {
			return fd, err
		}
	}
	s.sockets[int32(fd)] = l
	return fd, s.watch(fd)
}

// openAll has one socket take the connections to every port that has no listener of its own.
func (s *server) openAll(l Listener, listeners []Listener) error {
	fd, err := s.open(l, 0)
	if err != nil {
		return err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	return takeAll(uint16(bound.(*unix.SockaddrInet6).Port), listeners)
}

func (s *server) watch(fd int) error {
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (s *server) loop() error {
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(s.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			l, serving := s.sockets[e.Fd]
			switch {
			case !serving:
				s.drain(e.Fd)
			case l.Proto == probe.UDP:
				err = s.datagrams(int(e.Fd), l)
			default:
				err = s.accept(int(e.Fd), l)
			}
			if err != nil {
				return fmt.Errorf("%v ports %d to %d: %w", l.Proto, l.Ports.First, l.Ports.Last, err)
			}
		}
	}
}

// accept takes everyone who waits at a listening socket, or, if the listener pauses, the first one.
func (s *server) accept(listening int, l Listener) error {
	for {
		fd, _, err := unix.Accept4(listening, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		if err := s.greet(fd, l); err != nil {
			return err
		}
		if l.Pause > 0 {
			return s.rest(listening, l.Pause)
		}
	}
}

// rest has the loop look away from a listening socket for a while.
func (s *server) rest(listening int, pause time.Duration) error {
	look := func(events uint32) error {
		return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_MOD, listening, &unix.EpollEvent{Events: events, Fd: int32(listening)})
	}
	err := look(0)
	time.AfterFunc(pause, func() { _ = look(unix.EPOLLIN) }) // the socket is there as long as the host is
	return err
}

// greet does the listener's service to one connection. That the peer may be gone by now is no error.
func (s *server) greet(fd int, l Listener) error {
	if len(l.Banner) > 0 {
		_, _ = unix.Write(fd, l.Banner)
	}
	switch l.Do {
	case Echo:
		return echo(fd)
	case Hangup:
		return unix.Close(fd)
	case Abort:
		if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			return err
		}
		return unix.Close(fd)
	case Answer:
		s.asked[int32(fd)] = l
	}
	return s.watch(fd)
}

// drain reads what a connection has to say, answers if it is to be answered, and closes it when that is over.
func (s *server) drain(fd int32) {
	n, err := unix.Read(int(fd), s.buf)
	if l, asked := s.asked[fd]; asked && n > 0 {
		_, _ = unix.Write(int(fd), l.answer(s.buf[:n]))
	}
	if n > 0 || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	delete(s.asked, fd)
	_ = unix.Close(int(fd))
}

// echo hands a connection to a goroutine that sends back what it hears, until the peer's FIN.
func echo(fd int) error {
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	go func() {
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()
	return nil
}

// datagrams reads all that has come to a UDP socket and, where the service says something, says it from where it was sent to.
func (s *server) datagrams(fd int, l Listener) error {
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, s.buf, s.control, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		case l.Do == Hold:
			continue
		}
		if oobn == unix.CmsgSpace(unix.SizeofInet6Pktinfo) {
			// From the address that was asked (IPV6_PKTINFO), by whichever device the routes say: the relay's, if there is one.
			clear(s.control[unix.CmsgLen(unix.SizeofInet6Pktinfo)-4 : oobn])
		}
		reply := s.buf[:n]
		if l.Do == Answer {
			reply = l.answer(reply)
		}
		if err := unix.Sendmsg(fd, reply, s.control[:oobn], from, 0); err != nil && !lost(err) {
			return fmt.Errorf("send: %w", err)
		}
	}
}

// lost reports whether a send failed as a network fails: the host's own rules among them (EPERM).
func lost(err error) bool {
	for _, loss := range []error{unix.EPERM, unix.EAGAIN, unix.ENOBUFS, unix.EHOSTUNREACH, unix.ENETUNREACH} {
		if errors.Is(err, loss) {
			return true
		}
	}
	return false
}
